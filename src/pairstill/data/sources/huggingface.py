"""Datasets of the Hugging Face hub, or local folders in their formats."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pairstill.config import ColumnsConfig, DataConfig
from pairstill.data.images import decode_rgb
from pairstill.data.sources.extraction import extract_once
from pairstill.data.sources.raw import RawPair, RawPairs, parse_listing
from pairstill.errors import DataError, MissingDependencyError
from pairstill.schema import SPLITS, Split
from pairstill.storage import digest

# Raise it when extracted folders change, so that old ones are not taken for new ones.
_VERSION = 1


def read(config: DataConfig, cache_dir: Path) -> RawPairs:
    """Read three splits of a dataset, and write their images into the cache as PNG, once.

    Files are named by their content, so rows that repeat an image (one row per caption) become one image.

    Args:
        config: `root` is the hub name, a folder written by `save_to_disk`, or a folder that `load_dataset` reads;
            `splits` names the splits and `columns` the image and caption columns.
        cache_dir: receives `images/huggingface-<key>/`.

    Raises:
        DataError: the dataset, a split or a column is missing.
        MissingDependencyError: the package datasets is not installed.
    """
    tables = _load(config)
    # `datasets` identifies content by this fingerprint; it has no public name for it.
    prints = [tables[split]._fingerprint for split in SPLITS]
    parts = (str(_VERSION), str(config.max_pixels), config.columns.image, config.columns.caption, *prints)
    return extract_once(cache_dir, f"huggingface-{digest(*parts)[:16]}", lambda folder: _write(folder, tables, config))


def _load(config: DataConfig) -> dict[Split, Any]:
    """Return one `datasets.Dataset` per split, with images as undecoded bytes."""
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError(
            "data.source huggingface needs the package datasets, which is not installed; "
            'run `pip install "pairstill[huggingface]"`'
        ) from error
    root = str(config.root)
    local = Path(root).expanduser()
    saved: Any = None
    if (local / "dataset_dict.json").is_file():
        saved = datasets.load_from_disk(str(local))
    elif local.is_dir():
        root = str(local)
    tables: dict[Split, Any] = {}
    for split in SPLITS:
        name = getattr(config.splits, split)
        try:
            table = saved[name] if saved is not None else datasets.load_dataset(root, split=name)
        except Exception as error:  # from a missing network to a wrong split, each kind with its own class
            known = f"; it has {', '.join(map(repr, saved))}" if saved is not None else ""
            raise DataError(
                f"split {name!r} of dataset {config.root} cannot be loaded ({type(error).__name__}: {error}){known}. "
                f"Check data.root and data.splits.{split}"
            ) from error
        tables[split] = _with_undecoded_images(table, config.columns, f"split {name!r} of {config.root}", datasets)
    return tables


def _with_undecoded_images(table: Any, columns: ColumnsConfig, place: str, datasets: Any) -> Any:
    for setting, name in (("image", columns.image), ("caption", columns.caption)):
        if name not in table.column_names:
            raise DataError(
                f"{place} has no column {name!r}; it has {', '.join(map(repr, table.column_names))}. "
                f"Set data.columns.{setting}"
            )
    kind = table.features[columns.image]
    if not isinstance(kind, datasets.Image):
        raise DataError(f"column {columns.image!r} of {place} holds {kind}, not images. Set data.columns.image")
    table = table.select_columns([columns.image, columns.caption])
    return table.cast_column(columns.image, datasets.Image(decode=False))


def _write(folder: Path, tables: Mapping[Split, Any], config: DataConfig) -> Iterator[RawPair | str]:
    for split, table in tables.items():
        for number, row in enumerate(table):
            where = f"{split} row {number}"
            try:
                image = _write_png(folder, row[config.columns.image], config.max_pixels)
            except (DataError, OSError) as error:
                yield f"{where}: the image {error}"
            else:
                yield parse_listing(image=image, captions=row[config.columns.caption], split=split, where=where)


def _write_png(folder: Path, cell: Mapping[str, Any] | None, max_pixels: int) -> str:
    """Write one image cell (`bytes`, or the `path` of a file) and return the new file's name."""
    if cell is None or (cell["bytes"] is None and cell["path"] is None):
        raise DataError("is absent")
    content = cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
    name = f"{hashlib.sha256(content).hexdigest()}.png"
    if not (folder / name).exists():
        decode_rgb(content, max_pixels=max_pixels).save(folder / name)
    return name
