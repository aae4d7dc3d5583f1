"""Datasets of the Hugging Face hub, or local folders in their formats."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pairstill.config import DataConfig
from pairstill.core.errors import DataError
from pairstill.core.schema import SPLITS, Split
from pairstill.data.images import decode_rgb
from pairstill.data.sources.extraction import extract_once
from pairstill.data.sources.hub import HubSplit, load_split
from pairstill.data.sources.raw import RawPair, RawPairs, parse_listing
from pairstill.storage import digest, writing

# Raise it when extracted folders change, so that old ones are not taken for new ones.
_VERSION = 2


def read(config: DataConfig, cache_dir: Path) -> RawPairs:
    """Read three splits of a dataset, and write their images into the cache as PNG, once.

    Files are named by their content, so rows that repeat an image (one row per caption) become one image. A cell
    that names a file instead of holding one may name those in the dataset's own folder.

    Args:
        config: `root` is the hub name, a folder written by `save_to_disk`, or a folder that `load_dataset` reads;
            `splits` names the splits and `columns` the image and caption columns.
        cache_dir: receives `images/huggingface-<key>/`.

    Raises:
        DataError: the dataset, a split or a column is missing or damaged, or it names files elsewhere.
        MissingDependencyError: the package datasets is not installed.
    """
    columns = {"data.columns.image": config.columns.image, "data.columns.caption": config.columns.caption}
    tables: dict[Split, HubSplit] = {}
    for split in SPLITS:
        name = str(getattr(config.splits, split))
        tables[split] = load_split(str(config.root), name, columns, f"data.root and data.splits.{split}")
    facts = [fact for split in SPLITS for fact in tables[split].facts]
    parts = (str(_VERSION), str(config.max_pixels), *columns.values(), *facts)
    return extract_once(cache_dir, f"huggingface-{digest(*parts)[:16]}", lambda folder: _write(folder, tables, config))


def _write(folder: Path, tables: Mapping[Split, HubSplit], config: DataConfig) -> Iterator[RawPair | str]:
    for split, table in tables.items():
        yield from extract_pairs(folder, split, table, config.max_pixels)


def extract_pairs(
    folder: Path, split: str, table: HubSplit, max_pixels: int, caption: Callable[[Any], Any] = lambda cell: cell
) -> Iterator[RawPair | str]:
    """Write images into `folder` as PNG, and yield each with its captions, or what is wrong with it.

    Args:
        folder: receives the images.
        split: the split that they belong to.
        table: its rows.
        max_pixels: larger images are refused.
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
            image = _write_png(folder, table.image(cells[0]), max_pixels)
        except DataError as error:
            yield f"{where}: the image {error}"
        else:
            yield parse_listing(image=image, captions=caption(cells[1]), split=split, where=where)


def _write_png(folder: Path, content: bytes, max_pixels: int) -> str:
    """Write an image and return the new file's name."""
    name = f"{hashlib.sha256(content).hexdigest()}.png"
    if not (folder / name).exists():
        image = decode_rgb(content, max_pixels=max_pixels)
        with writing(folder / name):
            image.save(folder / name)
    return name
