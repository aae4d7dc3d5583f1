"""Caches that are damaged, and folders of the user's that are called one."""

import shutil
from functools import partial
from pathlib import Path

from attacks.attack import Attack, Base, Step, damage
from attacks.processes import FROZEN, settings_of
from pairstill.storage.cache import KINDS

KIND = "caches"
HOW = ("emptied", "cut in half", "{}", "flipped in the middle", "flipped at the end", "removed", "a folder", "a FIFO",
       "a link to a secret", "a link to /dev/zero")  # fmt: skip


def caches(base: Base) -> list[Attack]:
    """Return the attacks on caches."""
    return [*_damaged(base), *_users(), *_places()]


def _damaged(base: Base) -> list[Attack]:
    """One file of the cache is damaged; another run finds it, and must have the same results or refuse."""

    def steps(names: tuple[str, ...], how: str, frozen: bool, folder: Path) -> list[Step]:
        shutil.copytree(base.path("cache"), folder / "work" / "cache")
        for name in names:
            damage(folder / "work" / "cache" / name, how, folder / "outside")
        options = FROZEN if frozen else ()
        return [
            ["run", *settings_of(folder / "work"), *options, "--reuse=true"],
            ["cache", f"--cache_dir={folder}/work/cache"],
        ]

    found = []
    for kind in KINDS:
        root = base.path("cache")
        files = sorted(path.relative_to(root) for path in (root / kind).rglob("*") if path.is_file())
        seen: dict[str, list[str]] = {}
        for path in files:  # all of one name, for a run reads only some of them
            seen.setdefault(path.name if kind not in ("images", "decodable", "distilled") else path.suffix, []).append(
                str(path)
            )
        for name, paths in seen.items():
            for how in HOW:
                frozen = kind == "features"
                make = partial(steps, tuple(paths), how, frozen)
                same = ("work/run", "frozen" if frozen else "run")
                found.append(Attack(KIND, f"{kind} {name} {how}", make, same=same))
    return found


def _users() -> list[Attack]:
    """The folder belongs to the user."""

    def steps(names: tuple[str, ...], remove: str, folder: Path) -> list[Step]:
        mine = folder / "user" / "my"
        for name in names:
            (mine / name).parent.mkdir(parents=True, exist_ok=True)
            (mine / name).write_text("a photo of the user's")
        return [["cache", f"--cache_dir={mine}", f"--remove={remove}"]]

    def linked(remove: str, folder: Path) -> list[Step]:
        (folder / "user" / "my").mkdir()
        for kind in KINDS:
            (folder / "user" / "my" / kind).symlink_to(folder / "outside")
        return [["cache", f"--cache_dir={folder}/user/my", f"--remove={remove}"]]

    def mixed(base_kind: str, folder: Path) -> list[Step]:
        mine = folder / "work" / "cache"
        first = ["prepare", *settings_of(folder / "work")]

        def put(_: Path) -> None:
            (mine / base_kind).mkdir(parents=True, exist_ok=True)
            (mine / base_kind / "holiday.jpg").write_text("a photo of the user's")

        def check(_: Path) -> None:
            held = mine / base_kind / "holiday.jpg"
            if not held.is_file():
                raise AssertionError(f"{held} is gone")

        return [first, put, ["cache", f"--cache_dir={mine}", "--remove=all"], check]

    def entry(kind: str, folder: Path) -> list[Step]:
        """The user's photo lies in an entry, or an entry is a link to the user's folder."""
        first = ["prepare", *settings_of(folder / "work")]

        def link(_: Path) -> None:
            root = folder / "work" / "cache" / kind
            root.mkdir(parents=True, exist_ok=True)
            (root / ("0" * 64)).symlink_to(folder / "outside")

        return [first, link, ["cache", f"--cache_dir={folder}/work/cache", f"--remove={kind}"]]

    found = []
    for kind in KINDS:
        for remove in (kind, "all"):
            photos = (f"{kind}/holiday.jpg", f"{kind}/deep/er/photo.png")
            found.append(
                Attack(KIND, f"--remove {remove}, photos in {kind}", partial(steps, photos, remove), ends=(1, 2))
            )
        found.append(Attack(KIND, f"--remove {kind}, a link", partial(linked, kind), ends=(1, 2)))
        found.append(Attack(KIND, f"a photo beside what is cached in {kind}", partial(mixed, kind)))
        found.append(Attack(KIND, f"a link among what is cached in {kind}", partial(entry, kind)))
    found.append(Attack(KIND, "--remove all, a folder of other names", partial(steps, ("a.txt", "b/c.txt"), "all")))
    found.append(Attack(KIND, "--remove all, links", partial(linked, "all"), ends=(1, 2)))
    found.append(Attack(KIND, "a listing with a hostile name", _listed))
    return found


def _listed(folder: Path) -> list[Step]:
    (folder / "user" / "images").mkdir()
    (folder / "user" / "images" / "\x1b[2J.jpg").write_text("a photo")
    return [["cache", f"--cache_dir={folder}/user"]]


def _places() -> list[Attack]:
    def steps(path: str, remove: tuple[str, ...], folder: Path) -> list[Step]:
        (folder / "user" / "file").write_text("the user's own")
        return [["cache", f"--cache_dir={path.format(user=folder / 'user')}", *remove]]

    found = []
    for path in ("{user}/file", "{user}/none", "a\0b", "x" * 300, "/dev/null", "/proc/self", ""):
        for remove in ((), ("--remove=all",)):
            found.append(Attack(KIND, f"cache_dir is {path[:20]!r} {remove}", partial(steps, path, remove)))
    return found
