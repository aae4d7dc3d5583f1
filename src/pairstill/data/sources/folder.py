"""A folder of images, each with its captions in a text file beside it."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from pairstill.config import DataConfig
from pairstill.core.errors import DataError, printable, shown
from pairstill.core.formatting import counted
from pairstill.core.schema import SPLITS, Split
from pairstill.data.captions import caption_lines
from pairstill.data.inside import read_inside
from pairstill.data.sources.raw import Lazily, RawPair, RawPairs, image_root_of, parse_listing, root_of
from pairstill.data.sources.recognition import PICTURES, TEXTS, hint

MAX_TEXT_BYTES = 2**24


@dataclass
class _Found:
    """The files of one folder that share a name."""

    pictures: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def read(config: DataConfig, cache_dir: Path) -> RawPairs:
    """Read the images of a folder and all below it; a caption is a line of the `.txt` or `.caption` of the same name.

    Names that begin with a dot are left out, and so, with a word, are files that are neither picture nor text.

    Args:
        config: `images` is the folder; `splits` names the folders of the splits in it, which are called `train`, `val`
            and `test` otherwise. With `split`, images in none of these three are of `train`, which is divided.
        cache_dir: not used; images stay where they are.

    Raises:
        DataError: there is no such folder, or no picture in it.
    """
    root = image_root_of(config)
    found, others, links = _walk(root)
    if not any(one.pictures for one in found.values()):
        raise DataError(
            f"{root} holds no picture ({', '.join(PICTURES)}){hint(root, 'folder')}; set data.root and data.images to "
            "the folder of the image files"
        )
    if not any(one.texts for one in found.values()):
        raise DataError(
            f"{root} holds pictures, but no text ({', '.join(TEXTS)}) beside any of them"
            f"{hint(root, 'folder') or hint(root_of(config), 'folder')}; write the captions of a.jpg into a.txt beside "
            "it, or name the source that reads your pairs"
        )
    folders, otherwise = _folders(config)
    raw = RawPairs(root, Lazily(lambda: chain(links, _parse(root, found, folders, otherwise))))
    if not others:
        return raw
    kinds = ", ".join(f"{count} {printable(kind) or 'without suffix'}" for kind, count in others.most_common(5))
    what = "is neither picture nor text" if others.total() == 1 else "are neither pictures nor texts"
    return replace(raw, notes=(f"{counted(others.total(), 'file')} in {root} {what} and left out: {kinds}",))


def _folders(config: DataConfig) -> tuple[Mapping[str, Split], Split | None]:
    """Return which folder each split is in, and the split of images elsewhere; None if they may be nowhere else."""
    if config.splits.named:
        return {name.strip("/"): split for split, name in config.splits.named.items()}, None
    return {split: split for split in SPLITS}, None if config.split is None else "train"


def _walk(root: Path) -> tuple[dict[str, _Found], Counter[str], list[str]]:
    """Return the files by name without its end, how many others there are by their ends, and links to folders."""
    found: dict[str, _Found] = {}
    others: Counter[str] = Counter()
    links: list[str] = []
    for folder, folders, files in os.walk(root):
        here = os.path.relpath(folder, root)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if os.path.islink(f"{folder}/{name}"):
                links.append(
                    f"{shown(name if here == '.' else f'{here}/{name}')} is a link to a folder; copy or move it"
                )
        for name in sorted(files):
            stem, dot, suffix = name.rpartition(".")
            path, kind = name if here == "." else f"{here}/{name}", dot + suffix.lower()
            if name.startswith("."):
                continue
            if kind in PICTURES:
                found.setdefault(path[: len(path) - len(kind)], _Found()).pictures.append(path)
            elif kind in TEXTS:
                found.setdefault(path[: len(path) - len(kind)], _Found()).texts.append(path)
            else:
                others[kind if stem else ""] += 1
    return found, others, links


def _parse(
    root: Path, found: Mapping[str, _Found], folders: Mapping[str, Split], otherwise: Split | None
) -> Iterator[RawPair | str]:
    for one in found.values():
        if not one.pictures:
            yield f"{shown(one.texts[0])}: there is no picture of this name beside it"
        elif not one.texts:
            yield from (f"{shown(picture)}: there is no text of this name beside it" for picture in one.pictures)
        elif len(one.pictures) > 1 or len(one.texts) > 1:
            yield f"{', '.join(map(shown, (*one.pictures, *one.texts)))} share a name; keep one picture and one text"
        else:
            split = _split_of(one.pictures[0], folders) or otherwise
            if split is None:
                known = ", ".join(map(repr, folders))
                advice = "move it into one, or draw splits with --data.split 'random 8:1:1'"
                yield f"{shown(one.texts[0])}: it is in none of the folders of splits, {known}; {advice}"
            else:
                yield _listing(root, one.pictures[0], one.texts[0], split)


def _listing(root: Path, picture: str, text: str, split: Split) -> RawPair | str:
    where = shown(text)
    try:
        lines = caption_lines(read_inside(root, text, MAX_TEXT_BYTES).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return f"{where}: the caption is not text in UTF-8 ({error})"
    except DataError as error:
        return f"{where} {error}"
    return parse_listing(image=picture, captions=lines or [""], split=split, where=where)


def _split_of(picture: str, folders: Mapping[str, Split]) -> Split | None:
    return next((split for folder, split in folders.items() if picture.startswith(f"{folder}/")), None)
