"""What an attack is, and the damages that most of them are made of."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Step = Sequence[str] | Callable[[Path], None]
SECRET = "SECRET-5d41402abc4b2a76"
"""Stands in files outside of every dataset; wherever else it turns up, it was read."""

VALUES: dict[str, Any] = {
    "null": None,
    "zero": 0,
    "minus": -1,
    "huge": 10**30,
    "half": 0.5,
    "true": True,
    "list": [],
    "object": {},
    "empty": "",
    "blank": " \t",
    "nul": "a\0b.png",
    "up": "../outside/secret.png",
    "absolute": "{outside}/secret.png",
    "link": "link/secret.png",
    "long": "a" * 5000,
    "surrogate": "\ud800.png",
    "escape": "\x1b[2J\x1b[31m.png",
    "lines": "p0\np1.png",
    "home": "~/secret.png",
    "folder": ".",
    "nested": [[[]]],
    "nothings": [None],
    "device": "/dev/zero",
}
"""What may stand in a field of a listing, by name."""


@dataclass(frozen=True)
class Base:
    """What attacks start from: made once, only read.

    Attributes:
        folder: holds `run` (finished, trained tower), `frozen` (finished), `cache`, and an export in every format.
    """

    folder: Path

    def path(self, *parts: str) -> Path:
        """Return a path below the folder."""
        return self.folder.joinpath(*parts)


@dataclass(frozen=True)
class Attack:
    """One attack. Its folder has `user` (what is attacked with), `outside` (secrets) and `work` (may be written to).

    Attributes:
        kind: which rule made it.
        name: what it is.
        steps: given its folder, fills it and returns command lines and functions, done in order until one fails.
        samples: samples that the user's files hold; fewer that are read without a word are lost. None does not look.
        same: a run below the folder; where all succeeded, it must hold what the base's run of this name holds.
        keeps: paths below `work` that must stay as they are.
        ends: the statuses that are right; None takes any that pairstill means.
        encoding: of the terminal.
    """

    kind: str
    name: str
    steps: Callable[[Path], Sequence[Step]]
    samples: int | None = None
    same: tuple[str, str] | None = None
    keeps: tuple[str, ...] = ()
    ends: tuple[int, ...] | None = None
    encoding: str = "utf-8"


def _flip(content: bytes, place: float) -> bytes:
    at = min(int(place * len(content)), len(content) - 1)
    return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :] if content else b"\x55"


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "cut in half": lambda content: content[: len(content) // 2],
    "cut by one": lambda content: content[:-1],
    "{}": lambda content: b"{}\n",
    "null": lambda content: b"null\n",
    "[]": lambda content: b"[]\n",
    "flipped at the start": lambda content: _flip(content, 0.02),
    "flipped in the middle": lambda content: _flip(content, 0.5),
    "flipped at the end": lambda content: _flip(content, 0.97),
    "every byte": lambda content: bytes(range(256)),
    "nested": lambda content: b"[" * 100_000,
    "twice": lambda content: content * 2,
}
"""Damages to a file's bytes, by name."""


def _fifo(path: Path, outside: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path, outside: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to(outside / "secret.txt")


def _endless(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _circle(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


PLACES: dict[str, Callable[[Path, Path], None]] = {
    "removed": lambda path, outside: path.unlink(),
    "a folder": _folder,
    "a FIFO": _fifo,
    "a link to a secret": _link,
    "a link to /dev/zero": _endless,
    "a link to itself": _circle,
}
"""Damages to a file's place, by name; given the file and the folder of secrets."""


def damage(path: Path, how: str, outside: Path) -> None:
    """Damage a file in a way of `BYTES` or `PLACES`."""
    if how in BYTES:
        path.write_bytes(BYTES[how](path.read_bytes()))
    else:
        PLACES[how](path, outside)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values inside a JSON value, the first of each list only."""
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else ()
    for key, one in inner:
        found += places(one, (*path, key))
    return found


def put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    """Put a value at a path inside a JSON value."""
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new
