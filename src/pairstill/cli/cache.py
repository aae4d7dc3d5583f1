"""`pairstill cache`: what runs share below `cache_dir`, and how to free it."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser
from pairstill.cli.runs import show_table
from pairstill.config import RunConfig
from pairstill.core.formatting import human_bytes
from pairstill.storage.cache import KINDS, entries_of, refuse_removal, remove_kind
from pairstill.storage.owned import named

NAME = "cache"
TEXT = "list what runs share below cache_dir with its size, or remove it"


def _parser(_: Sequence[str]) -> ArgumentParser:
    parser = plain_parser(NAME, TEXT)
    parser.add_argument("--cache_dir", type=str, default=RunConfig().cache_dir, help="the folder that runs share")
    parser.add_argument(
        "--remove",
        choices=(*KINDS, "all"),
        default=None,
        help="remove this, of what pairstill made; the next run makes what it needs again. No run may be going on "
        "that needs it",
    )
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    root = Path(options.cache_dir).expanduser()
    if options.remove is not None:
        print(_remove(root, list(KINDS) if options.remove == "all" else [options.remove]))
        return 0
    rows = [
        [f"{name}: {kind.text}", f"{len(entries_of(root, name)):,}", human_bytes(_bytes(root, name))]
        for name, kind in KINDS.items()
    ]
    show_table(str(root), ["what", "entries", "size"], rows)
    return 0


def _remove(root: Path, names: list[str]) -> str:
    """Remove these kinds, or none of them if one may not be removed, and return in words what is gone."""
    for name in names:
        refuse_removal(root, name)
    there = [name for name in names if (root / name).is_dir()]
    freed = sum(_bytes(root, name) for name in there)
    left = [f"{name}/{entry}" for name in there for entry in remove_kind(root, name)]
    kept = f"; what pairstill did not make stays ({named(left)})" if left else ""
    return f"Removed {human_bytes(freed)} ({', '.join(there) or 'nothing was there'}) from {root}{kept}"


def _bytes(root: Path, name: str) -> int:
    files = (path for entry in entries_of(root, name) for path in (entry, *entry.rglob("*")))
    return sum(path.lstat().st_size for path in files if path.is_file())


COMMAND = Command(NAME, TEXT, _parser, _run)
