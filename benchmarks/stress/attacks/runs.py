"""Files of a finished run that are damaged, and folders that are no run's."""

import shutil
from functools import partial
from pathlib import Path

from attacks.attack import PLACES, Attack, Base, Step, damage
from attacks.processes import settings_of

KIND = "runs"
DAMAGES = (
    "emptied", "cut in half", "{}", "null", "[]", "flipped in the middle", "flipped at the end", "every byte", "nested",
    *PLACES,
)  # fmt: skip
COMMANDS = ("run", "report", "compare", "export", "evaluate", "shares")
MADE_ANEW = ("report.html", "results.md", "shares.md", "metrics.jsonl", "seconds.json", "png_cost.json")
"""What no result depends on."""


def command(name: str, folder: Path) -> list[str]:
    """Return the command line of a command on the attack's run."""
    work, run = folder / "work", str(folder / "work" / "run")
    match name:
        case "report":
            return ["report", run, f"--out={work}/report.html", "--retrieval=false"]
        case "compare":
            return ["compare", run, run, "--resamples=100", f"--out={work}/compared"]
        case "export":
            return ["export", run, "--format=parquet", f"--out={work}/exported", "--measure=never"]
        case "shares":
            return ["shares", run]
        case _:
            return [name, *settings_of(work)]


def with_run(base: Base, folder: Path) -> None:
    """Copy the base's finished run and cache into an attack's folder."""
    work = folder / "work"
    shutil.copytree(base.path("run"), work / "run")
    shutil.copytree(base.path("cache"), work / "cache")
    path = work / "run" / "notes.txt"
    path.write_text("the user's own")


def runs(base: Base) -> list[Attack]:
    """Return the attacks on the folders of runs."""

    def spoiled(name: str, how: str, does: str, folder: Path) -> list[Step]:
        with_run(base, folder)
        damage(folder / "work" / "run" / name, how, folder / "outside")
        return [command(does, folder)]

    found = []
    files = sorted(path.relative_to(base.path("run")) for path in base.path("run").rglob("*") if path.is_file())
    ranks = [path for path in files if path.parts[0] == "ranks"]
    number = 0
    for file in [path for path in files if path not in ranks[2:] and path.name not in (".lock", "metrics.jsonl")]:
        for how in DAMAGES:
            number += 1
            does = COMMANDS[number % len(COMMANDS)]
            for each in dict.fromkeys(("run", does)) if "jsonl" in file.name or file.suffix == ".yaml" else (does,):
                same = ("work/run", "run") if each in ("run", "evaluate") else None
                name = f"{file} {how}, {each}"
                make = partial(spoiled, str(file), how, each)
                found.append(Attack(KIND, name, make, same=same, keeps=("run/notes.txt",)))
    for name in (".lock", "metrics.jsonl"):
        for how in PLACES:
            make = partial(spoiled, name, how, "run")
            found.append(Attack(KIND, f"{name} {how}, run", make, same=("work/run", "run")))
    return found + _foreign(base)


def _foreign(base: Base) -> list[Attack]:
    """The folder of the run is one of the user's."""

    def into(names: tuple[str, ...], does: str, folder: Path) -> list[Step]:
        mine = folder / "user" / "mine"
        mine.mkdir()
        for name in names:
            (mine / name).parent.mkdir(exist_ok=True)
            (mine / name).write_text("# the user's own\nseed: 1\n")
        rest = [one for one in command(does, folder) if not one.startswith("--run_dir")]
        return [[*rest, f"--run_dir={mine}"]]

    def out_is(does: str, folder: Path) -> list[Step]:
        with_run(base, folder)
        mine = folder / "user" / "mine"
        mine.mkdir()
        (mine / "index.html").write_text("mine")
        line = [one for one in command(does, folder) if not one.startswith("--out")]
        return [[*line, f"--out={mine}"]]

    def place(path: str, option: str, folder: Path) -> list[Step]:
        (folder / "user" / "file").write_text("the user's own")
        (folder / "user" / "link").symlink_to(folder / "outside")
        line = [one for one in command("prepare", folder) if not one.startswith(f"--{option}")]
        return [[*line, f"--{option}={path.format(user=folder / 'user')}"]]

    found = []
    own = (("config.yaml",), ("results.md", "data.json"), ("environment.json",), ("a.txt",), ("images/a.png",), (".x",))
    for names in own:
        for does in ("run", "prepare", "teach", "evaluate"):
            found.append(Attack(KIND, f"{does} into a folder with {names}", partial(into, names, does), ends=(1, 2)))
    for does in ("report", "export"):
        found.append(Attack(KIND, f"{does} onto a folder of the user's", partial(out_is, does), ends=(1, 2)))
    paths = (
        "{user}/file",
        "{user}/file/x",
        "{user}/link/x\0",
        "a\0b",
        "x" * 300,
        "/proc/x",
        "/dev/null",
        "/dev/null/x",
        "",
    )
    for option in ("run_dir", "cache_dir", "trajectories_dir"):
        for path in paths:
            make = partial(place, path, option)
            unsure = option == "trajectories_dir" and path != ""  # checking pairs needs none
            found.append(Attack(KIND, f"{option} is {path[:20]!r}", make, ends=None if unsure else (1, 2)))
    return found
