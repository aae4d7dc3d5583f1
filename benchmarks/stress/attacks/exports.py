"""Exports and distilled sets that are damaged, or say something else under a right seal."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from attacks.attack import PLACES, VALUES, Attack, Base, Step, damage, places, put
from attacks.processes import settings_of
from pairstill.exchange.settings import LAYOUTS
from pairstill.storage.checksums import sealed

KIND = "exports"
HOW = ("emptied", "cut in half", "cut by one", "flipped in the middle", "flipped at the end", "nested", *PLACES)
ALLOWED = ("README.md",)
"""Files for people: nothing is read from them."""


def exports(base: Base) -> list[Attack]:
    """Return the attacks on exports, and on the folder `distilled`."""
    found = []
    for layout in (*LAYOUTS, "distilled"):
        folder = base.path("run", "distilled") if layout == "distilled" else base.path(layout)
        files = sorted(
            path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
        )
        shown = [path for number, path in enumerate(files) if path.suffix != ".png" or number % 5 == 0]
        for file in shown:
            for how in HOW:
                fine = file.name in ALLOWED or (how == "cut by one" and file.suffix == ".json")  # a line's end
                make = partial(_damaged, base, layout, str(file), how)
                found.append(Attack(KIND, f"{layout} {file} {how}", make, ends=None if fine else (1, 2)))
        found += _said(base, layout)
    found.append(Attack(KIND, "a file more", partial(_more, base), ends=(1, 2)))
    return found


def _copied(base: Base, layout: str, folder: Path) -> Path:
    source = base.path("run", "distilled") if layout == "distilled" else base.path(layout)
    return Path(shutil.copytree(source, folder / "user" / "set"))


def _evaluate(base: Base, folder: Path) -> list[Step]:
    shutil.copytree(base.path("cache"), folder / "work" / "cache")
    only = ["--evaluate.methods=[distilled]", "--evaluate.num_students=1"]
    return [["evaluate", *settings_of(folder / "work"), f"--distilled={folder}/user/set", *only]]


def _damaged(base: Base, layout: str, name: str, how: str, folder: Path) -> list[Step]:
    damage(_copied(base, layout, folder) / name, how, folder / "outside")
    return _evaluate(base, folder)


def _more(base: Base, folder: Path) -> list[Step]:
    made = _copied(base, "webdataset", folder)
    shutil.copy(made / "pairs-000000.tar", made / "pairs-000001.tar")
    return _evaluate(base, folder)


def _said(base: Base, layout: str) -> list[Attack]:
    """The manifest says something else, and its seal is right."""
    name = "distilled.json" if layout == "distilled" else "pairstill.json"
    folder = base.path("run", "distilled") if layout == "distilled" else base.path(layout)
    content = json.loads((folder / name).read_text())
    values = [*VALUES.items()]

    def steps(path: tuple[Any, ...], value: Any, at: Path) -> list[Step]:
        made = _copied(base, layout, at) / name
        said = json.loads(made.read_text())
        put(said, path, value.format(outside=at / "outside") if isinstance(value, str) else value)
        made.write_text(json.dumps(sealed(said)))
        return _evaluate(base, at)

    found = []
    wanted = [path for path in places(content) if path[0] not in ("sha256", "provenance") and len(path) < 5]
    for number, path in enumerate(wanted):
        key, value = values[(3 * number + len(layout)) % len(values)]
        where = "/".join(map(str, path))
        found.append(Attack(KIND, f"{layout} says {where[:60]} is {key}", partial(steps, path, value)))
    return found
