"""Everything that only a GPU can show, in order of worth, within so many minutes.

    python benchmarks/gpu/kit.py --minutes 9 --out OUT      # on a machine with a GPU, with the folder that pack.py made
    python benchmarks/gpu/kit.py --dry-run                  # what it would do, and whether all of it is there
    python benchmarks/gpu/kit.py --tiny --out OUT           # every part at toy size, on the CPU

Each part is a process with a limit of its own. What is found is a line of OUT/results.jsonl as soon as it is found,
with the commit and the machine. The same command goes on where it was stopped: what is there is not done again, and
runs in --work go on from their checkpoints. The exit status is 1 if a check failed or a part could not be finished.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
for place in (ROOT / "src", HERE):
    sys.path.insert(0, str(place))


@dataclass(frozen=True)
class Part:
    """A part of the kit.

    Attributes:
        name: as it is asked for.
        text: what it shows.
        seconds: its limit; None takes all that is left.
    """

    name: str
    text: str
    seconds: float | None


PARTS = (
    Part("works", "exactness, determinism, identity, recall, resume, precisions, a process group", 100),
    Part("engine", "NFNet-L0 at 224 px: seconds and peak of every mode, launch-bound share, CUDA graph of a step", 120),
    Part("plan", "what the paper's rows will take here, predicted", 60),
    Part("results", "Flickr8k, trained MobileNetV1-0.75 at 96 px: LoRS, MTT-VL, PTM-ST at 100, 200, 500 pairs", None),
)
SPARE = 4.0
"""Seconds that are kept to end a part and to write what came of it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the parts that are asked for by these arguments, or those of the command line."""
    asked = _arguments(arguments)
    asked.out, asked.work = asked.out.absolute(), asked.work.absolute()
    site = unpacked_wheels(asked.pack, asked.work)
    if site is not None:
        sys.path.insert(0, str(site))
    if asked.part is not None:
        return do_part(asked, site)
    end = time.monotonic() + 60 * asked.minutes
    parts = [part for part in PARTS if part.name in asked.parts]
    if asked.dry_run:
        return _dry_run(asked, parts)
    asked.out.mkdir(parents=True, exist_ok=True)
    status = 0
    for part in parts:
        left = end - time.monotonic() - SPARE
        # at toy size nothing is lost by waiting for a slow machine
        limit = left if part.seconds is None or asked.tiny else min(part.seconds, left)
        ended = _ended(asked, part, limit, site) if limit > 0 else "not begun: no time was left"
        print(f"{part.name}: {ended}", flush=True)
        status |= ended != "done"
    return status


def _arguments(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--parts", nargs="+", choices=[part.name for part in PARTS], default=[p.name for p in PARTS])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--device", default=None, help="cuda:0, with --tiny cpu, unless said otherwise")
    parser.add_argument("--steps", type=int, default=120, help="outer steps of each phase of the results")
    parser.add_argument("--pack", type=Path, default=ROOT / ".gpu_pack")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "gpu_kit")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "gpu_kit" / "out")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    asked.device = asked.device or ("cpu" if asked.tiny else "cuda:0")
    return asked


def unpacked_wheels(pack: Path, work: Path) -> Path | None:
    """Unpack the wheels that were brought along, and return their folder; None if there are none."""
    wheels = sorted((pack / "wheels").glob("*.whl"))
    if not wheels:
        return None
    site = work / "site"
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(site)
    return site


def _command(asked: Any, part: str) -> list[str]:
    options = ["--device", asked.device, "--pack", str(asked.pack), "--work", str(asked.work), "--out", str(asked.out)]
    options += ["--steps", str(asked.steps)] + ["--tiny"] * asked.tiny
    return [sys.executable, str(HERE / "kit.py"), "--part", part, *options]


def _ended(asked: Any, part: Part, limit: float, site: Path | None) -> str:
    """Do a part in a process of its own, and return how it ended."""
    from record import environment_of

    began = time.monotonic()
    process = subprocess.Popen(_command(asked, part.name), env=environment_of(site))
    try:
        status = process.wait(limit)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(SPARE / 2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return f"stopped after {limit:.0f} s; the same command goes on"
    except BaseException:
        process.kill()
        raise
    return "done" if status == 0 else f"failed with status {status} after {time.monotonic() - began:.0f} s"


def _dry_run(asked: Any, parts: list[Part]) -> int:
    from pack import ANNOTATIONS, IMAGES, TEXTS, WEIGHTS

    for part in parts:
        limit = "what is left" if part.seconds is None else f"at most {part.seconds:.0f} s"
        print(f"{part.name} ({limit}): {part.text}\n  {shlex.join(_command(asked, part.name))}")
    needed = [asked.pack / name for name in (f"{ANNOTATIONS}.xz", f"{IMAGES}.zip", f"{TEXTS}.xz", WEIGHTS, "pack.json")]
    missing = [] if asked.tiny else [str(path) for path in needed if not path.exists()]
    print(f"missing: {', '.join(missing) or 'nothing'}")
    try:
        import pairstill.cli
        import pairstill.run.pipeline  # noqa: F401 - whether they can be imported is the question
    except ImportError as error:
        print(f"missing: {error}")
        return 1
    return int(bool(missing))


def do_part(asked: Any, site: Path | None) -> int:
    """Do one part in this process; return 1 if a check failed."""
    import torch

    device = torch.device(asked.device)
    if asked.part == "group":
        import works

        print(works.group(device))
        return 0
    from record import Record

    record = Record(asked.out / "results.jsonl", asked.part, _state(asked, device))
    if not record.has("machine"):
        record.add("machine", ok=True, **_machine(asked, device))
    from pairstill.core.torch_state import own_torch_state

    with own_torch_state():
        _do(record, device, asked, site)
    return int(not record.all_well())


def _do(record: Any, device: Any, asked: Any, site: Path | None) -> None:
    match asked.part:
        case "works":
            import works

            works.run(record, device, asked.work, _short_settings(asked), site)
        case "engine":
            import engine

            engine.run(record, device, tiny=asked.tiny)
        case "plan":
            _plan(record, asked)
        case _:
            import results

            results.run(record, asked.work / "results", _rows(asked))


def _state(asked: Any, device: Any) -> dict[str, Any]:
    import torch

    from pairstill.core.provenance import commit
    from pairstill.run.reuse import code_digest

    made = asked.pack / "pack.json"
    now = commit()
    if now is None and made.is_file():  # a checkout without its history: the pack says what it was made from
        said = json.loads(made.read_text())
        same = said["code"] == code_digest(ROOT / "src" / "pairstill")
        now = said["commit"] if same else f"{said['commit']}+changes"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"commit": now, "device": name, "tiny": asked.tiny}


def _machine(asked: Any, device: Any) -> dict[str, Any]:
    from pairstill.core.provenance import PACKAGES, installed_version
    from pairstill.tools.bench.measure import hardware

    versions = {package: installed_version(package) for package in (*PACKAGES, "triton")}
    command = shlex.join(["python", *sys.argv])
    return {"command": command, "hardware": hardware(device), "python": sys.version.split()[0], "versions": versions}


def _settings(*options: str) -> Any:
    from pairstill.cli.command import settings_from

    return settings_from(options)


def _short_settings(asked: Any) -> Any:
    """Return the settings of a run of a few seconds, on embedded pairs."""
    folder = asked.work / "cache"
    return _settings(
        *("--config", str(ROOT / "tests" / "recipes" / "tiny.yaml")),
        *("--device", asked.device, "--cache_dir", str(folder), "--evaluate.methods", "[distilled]"),
        *("--evaluate.num_students", "1", "--teacher.keep", "all"),
    )


def _rows(asked: Any) -> list[tuple[str, int, Any]]:
    """Return the rows of the results in order, with their settings."""
    import results
    from pack import ANNOTATIONS, IMAGES, TEXTS, WEIGHTS, unpack

    if asked.tiny:
        return [(method, 10, _short_settings(asked)) for method in results.METHODS]
    root = unpack(asked.pack, asked.work)
    base = _settings(
        *("--config", str(ROOT / "configs" / "flickr8k" / "trainable_100.yaml"), "--device", asked.device),
        *("--data.root", str(root), "--data.annotations", ANNOTATIONS, "--data.images", IMAGES),
        *("--image.weights", str(asked.pack / WEIGHTS), "--text.name", "precomputed", "--text.file", str(root / TEXTS)),
        *("--teacher.num_experts", "8", "--teacher.epochs", "8", "--cache_dir", str(asked.work / "cache")),
        *("--distill.validate_every", "0", "--distill.patience", "0", "--distill.checkpoint_every", "20"),
        *("--evaluate.num_students", "3", "--evaluate.methods", "[distilled]"),
    )
    return [
        (method, pairs, results.at_size(base, pairs, asked.steps))
        for pairs in results.PHASES
        for method in results.METHODS
    ]


def _plan(record: Any, asked: Any) -> None:
    from pack import ANNOTATIONS, IMAGES, unpack

    from pairstill.tools.plan import make_plan

    if asked.tiny:
        settings = {"tiny": _short_settings(asked)}
    else:
        root = unpack(asked.pack, asked.work)
        # random weights take the time that trained ones take, and so does any text encoder as wide
        settings = {
            f"flickr30k_{pairs}": _settings(
                *("--config", str(ROOT / "configs" / "paper" / "table12" / f"flickr30k_{pairs}.yaml")),
                *("--device", asked.device, "--data.root", str(root), "--data.annotations", ANNOTATIONS),
                *("--data.images", IMAGES, "--image.pretrained", "false", "--text.name", "hashed_ngrams"),
                *("--text.width", "768", "--teacher.augment", "none", "--cache_dir", str(asked.work / "cache")),
                *("--run_dir", str(asked.work / "plan"), "--trajectories_dir", "null"),
            )
            for pairs in (100, 500)
        }
    for name, config in settings.items():
        record.run(name, lambda config=config: {"plan": make_plan(config).to_json()})


if __name__ == "__main__":
    sys.exit(main())
