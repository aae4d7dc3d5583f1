"""Datasets of the Hugging Face hub, or local folders in their formats."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pairstill.config import DataConfig
from pairstill.data.images import decode_rgb
from pairstill.data.sources.extraction import extract_once
from pairstill.data.sources.raw import RawPair, RawPairs, parse_listing
from pairstill.errors import DataError, MissingDependencyError, StorageError
from pairstill.schema import SPLITS, Split
from pairstill.storage import digest, writing

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
    columns = {"data.columns.image": config.columns.image, "data.columns.caption": config.columns.caption}
    tables: dict[Split, Any] = {}
    for split in SPLITS:
        name = str(getattr(config.splits, split))
        table = load_split(str(config.root), name, f"data.root and data.splits.{split}")
        tables[split] = with_undecoded_images(table, columns, f"split {name!r} of {config.root}")
    return tables


def load_split(root: str, name: str, settings: str) -> Any:
    """Return a split of a dataset as a `datasets.Dataset`.

    Args:
        root: the hub name, a folder written by `save_to_disk`, or a folder that `load_dataset` reads.
        name: the split.
        settings: what to correct where it cannot be loaded.

    Raises:
        DataError: the dataset or the split is missing.
        MissingDependencyError: the package datasets is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError(
            "datasets of the hub, and local ones in its formats, need the package datasets, which is not installed; "
            'run `pip install "pairstill[huggingface]"`'
        ) from error
    local = Path(root).expanduser()
    saved: Any = datasets.load_from_disk(str(local)) if (local / "dataset_dict.json").is_file() else None
    try:
        if saved is not None:
            return saved[name]
        return datasets.load_dataset(str(local) if local.is_dir() else root, split=name)
    except Exception as error:  # from a missing network to a wrong split, each kind with its own class
        known = f"; it has {', '.join(map(repr, saved))}" if saved is not None else ""
        raise DataError(
            f"split {name!r} of dataset {root} cannot be loaded ({type(error).__name__}: {error}){known}. "
            f"Check {settings}"
        ) from error


def with_undecoded_images(table: Any, columns: Mapping[str, str], place: str) -> Any:
    """Return a `datasets.Dataset` with two columns, its images as undecoded bytes.

    Args:
        table: a `datasets.Dataset`.
        columns: names of the columns of images and of captions or classes, in this order, by setting.
        place: where it comes from, for messages.

    Raises:
        DataError: a column is missing, or the first does not hold images.
    """
    import datasets

    for setting, name in columns.items():
        if name not in table.column_names:
            raise DataError(
                f"{place} has no column {name!r}; it has {', '.join(map(repr, table.column_names))}. Set {setting}"
            )
    setting, image = next(iter(columns.items()))
    kind = table.features[image]
    if not isinstance(kind, datasets.Image):
        raise DataError(f"column {image!r} of {place} holds {kind}, not images. Set {setting}")
    return table.select_columns(list(columns.values())).cast_column(image, datasets.Image(decode=False))


def _write(folder: Path, tables: Mapping[Split, Any], config: DataConfig) -> Iterator[RawPair | str]:
    for split, table in tables.items():
        cells = ((row[config.columns.image], row[config.columns.caption]) for row in table)
        yield from extract_pairs(folder, split, cells, config.max_pixels)


def extract_pairs(
    folder: Path, split: str, cells: Iterable[tuple[Any, Any]], max_pixels: int
) -> Iterator[RawPair | str]:
    """Write images into `folder` as PNG, and yield each with its captions, or what is wrong with it.

    Args:
        folder: receives the images.
        split: the split that they belong to.
        cells: an image cell and a caption cell of each row.
        max_pixels: larger images are refused.
    """
    for number, (cell, captions) in enumerate(cells):
        where = f"{split} row {number}"
        try:
            image = _write_png(folder, cell, max_pixels)
        except StorageError:
            raise  # the disk's fault, not the image's
        except (DataError, OSError) as error:
            yield f"{where}: the image {error}"
        else:
            yield parse_listing(image=image, captions=captions, split=split, where=where)


def _write_png(folder: Path, cell: Mapping[str, Any] | None, max_pixels: int) -> str:
    """Write one image cell (`bytes`, or the `path` of a file) and return the new file's name."""
    if cell is None or (cell["bytes"] is None and cell["path"] is None):
        raise DataError("is absent")
    content = cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
    name = f"{hashlib.sha256(content).hexdigest()}.png"
    if not (folder / name).exists():
        image = decode_rgb(content, max_pixels=max_pixels)
        with writing(folder / name):
            image.save(folder / name)
    return name
