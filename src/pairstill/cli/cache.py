"""`pairstill cache`: what runs share below `cache_dir`, and how to free it."""

import shutil
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser
from pairstill.cli.running import show_table
from pairstill.config import RunConfig

NAME = "cache"
TEXT = "list what runs share below cache_dir with its size, or remove it"
KINDS = {
    "texts": "embeddings of captions",
    "features": "features of frozen image towers",
    "pixels": "decoded images for trained towers",
    "decodable": "which images are known to decode",
    "images": "images that a source drew or unpacked",
    "teachers": "trajectories of trained teachers",
    "distilled": "where distilled pairs are",
}


def _parser() -> ArgumentParser:
    parser = plain_parser(NAME, TEXT)
    parser.add_argument("--cache_dir", type=str, default=RunConfig().cache_dir, help="the folder that runs share")
    parser.add_argument(
        "--remove",
        choices=(*KINDS, "all"),
        default=None,
        help="remove this; the next run makes what it needs again. No run may be going on that needs it",
    )
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    from pairstill.wording import human_bytes

    root = Path(options.cache_dir).expanduser()
    removed = [kind for kind in KINDS if options.remove in (kind, "all") and (root / kind).is_dir()]
    freed = sum(_bytes(root / kind) for kind in removed)
    for kind in removed:
        shutil.rmtree(root / kind)
    if options.remove is not None:
        print(f"Removed {human_bytes(freed)} ({', '.join(removed) or 'nothing was there'}) from {root}")
        return 0
    rows = [
        [f"{kind}: {text}", f"{_entries(root / kind):,}", human_bytes(_bytes(root / kind))]
        for kind, text in KINDS.items()
    ]
    show_table(str(root), ["what", "entries", "size"], rows)
    return 0


def _entries(folder: Path) -> int:
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


COMMAND = Command(NAME, TEXT, _parser, _run)
