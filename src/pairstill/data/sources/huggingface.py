"""Datasets of the Hugging Face hub, or local folders in their formats."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from pairstill.config import DataConfig
from pairstill.core.errors import DataError
from pairstill.core.schema import Split
from pairstill.data.images import decode_rgb
from pairstill.data.sources.extraction import extract_once, write_once
from pairstill.data.sources.hub import HubSplit, load_split
from pairstill.data.sources.raw import RawPair, RawPairs, parse_listing
from pairstill.storage import digest

# Raise it when extracted folders change, so that old ones are not taken for new ones.
_VERSION = 3
Decode = Callable[[bytes], Image.Image]


def read(config: DataConfig, cache_dir: Path) -> RawPairs:
    """Read the splits of a dataset, and write their images into the cache as PNG, once.

    Where `splits` names `train` alone, a column says which split each row belongs to; it may be absent where `split`
    divides `train`.

    Files are named by their content, so rows that repeat an image (one row per caption) become one image. A cell
    that names a file instead of holding one may name those in the dataset's own folder.

    Args:
        config: `root` is the hub name, a folder written by `save_to_disk`, or a folder that `load_dataset` reads;
            `splits` names the splits and `columns` the image and caption columns, and that of splits.
        cache_dir: receives `images/huggingface-<key>/`.

    Raises:
        DataError: the dataset, a split or a column is missing or damaged, or it names files elsewhere.
        MissingDependencyError: the package datasets is not installed.
    """
    columns = {"data.columns.image": config.columns.image, "data.columns.caption": config.columns.caption}
    alone, optional = list(config.splits.named) == ["train"], {}
    if alone and config.split is None:
        columns["data.columns.split"] = _split_column(config)
    elif alone and config.columns.split is not None:
        optional["data.columns.split"] = config.columns.split
    tables: dict[Split, HubSplit] = {
        split: load_split(str(config.root), name, columns, f"data.root and data.splits.{split}", optional)
        for split, name in config.splits.named.items()
    }
    facts = [fact for split, table in tables.items() for fact in (split, *table.facts)]
    parts = (str(_VERSION), str(config.max_pixels), config.background, *columns.values(), *facts)
    decode = partial(decode_rgb, background=config.background, max_pixels=config.max_pixels)
    writes = [partial(extract_pairs, split=split, table=table, decode=decode) for split, table in tables.items()]
    return extract_once(cache_dir, f"huggingface-{digest(*parts)[:16]}", writes)


def _split_column(config: DataConfig) -> str:
    if config.columns.split is None:
        raise DataError(
            "data.splits names train alone and data.columns.split is null: name data.splits.val and data.splits.test, "
            "the column that names splits, or how they are drawn, such as data.split 'random 8:1:1'"
        )
    return config.columns.split


def extract_pairs(
    folder: Path, split: str, table: HubSplit, decode: Decode, caption: Callable[[Any], Any] = lambda cell: cell
) -> Iterator[RawPair | str]:
    """Write images into `folder` as PNG, and yield each with its captions, or what is wrong with it.

    Args:
        folder: receives the images.
        split: the split that they belong to.
        table: its rows.
        decode: returns the picture that a file's bytes hold.
        caption: what a caption cell stands for.

    Raises:
        DataError: the files of the dataset are damaged.
    """
    for number, cells in enumerate(table.rows()):
        where = f"{split} row {number}"
        if isinstance(cells, str):
            yield f"{where}: {cells}"
            continue
        try:
            cell, text, *named = cells
            image = _write_png(folder, table.image(cell), decode)
        except DataError as error:
            yield f"{where}: the image {error}"
        else:
            own = named[0] if named else split
            yield parse_listing(image=image, captions=caption(text), split=own, where=where)


def _write_png(folder: Path, content: bytes, decode: Decode) -> str:
    """Write an image and return the new file's name."""
    name = f"{hashlib.sha256(content).hexdigest()}.png"
    write_once(folder / name, lambda path: decode(content).save(path))
    return name
