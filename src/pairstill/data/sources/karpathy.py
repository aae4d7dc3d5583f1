"""Karpathy split files: Flickr8k, Flickr30k and COCO."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pairstill.config import DataConfig
from pairstill.core.errors import DataError, shown
from pairstill.data.sources.raw import (
    Lazily,
    RawPair,
    RawPairs,
    image_root_of,
    parse_listing,
    read_annotations_json,
)


def read(config: DataConfig, cache_dir: Path) -> RawPairs:
    """Read `{"images": [{"filename", "filepath"?, "split", "sentences": [{"raw"}]}]}`.

    COCO's `filepath` goes before the file name, and its split "restval" counts as train, as is usual.

    Args:
        config: `annotations` is the split file, `images` the folder of the image files.
        cache_dir: not used; images stay where they are.

    Raises:
        DataError: the file is missing or not of this format.
    """
    content = read_annotations_json(config)
    entries = content.get("images") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataError(
            f"{config.annotations} has no list 'images' at its top; it is not a Karpathy split file. "
            "Set data.annotations to one (such as dataset_flickr30k.json), or choose another data.source"
        )
    return RawPairs(image_root_of(config), Lazily(partial(_parse, entries)))


def _parse(entries: list[Any]) -> Iterator[RawPair | str]:
    for number, entry in enumerate(entries):
        where = f"images[{number}]"
        if not isinstance(entry, dict):
            yield f"{where}: {shown(entry)} is not an object"
            continue
        sentences = entry.get("sentences")
        captions = sentences or []
        if isinstance(captions, list):
            captions = [sentence.get("raw") if isinstance(sentence, dict) else sentence for sentence in captions]
        split = "train" if entry.get("split") == "restval" else entry.get("split")
        yield parse_listing(image=_image_path(entry), captions=captions, split=split, where=where)


def _image_path(entry: dict[str, Any]) -> Any:
    filename, folder = entry.get("filename"), entry.get("filepath")
    if isinstance(filename, str) and isinstance(folder, str) and folder:
        return f"{folder}/{filename}"
    return filename
