"""COCO captions: `captions_train2017.json` and all files of its form."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pairstill.config import DataConfig
from pairstill.core.errors import DataError, shown
from pairstill.data.sources.raw import RawPair, RawPairs, image_root_of, parse_listing, split_files


def read(config: DataConfig, cache_dir: Path) -> RawPairs:
    """Read `{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}`.

    An image lies in `images`, or anywhere below it if its name stands there once, as in `train2017/`.

    Args:
        config: `splits` are the files of the splits, or `annotations` is one for all; `images` is the folder of the
            image files.
        cache_dir: not used; images stay where they are.

    Raises:
        DataError: a file is missing or not of this format.
    """
    parsed: list[RawPair | str] = []
    for file in split_files(config):
        parsed += _parse(file.content, file.name, file.split, file.place)
    root = image_root_of(config)
    return RawPairs(root, tuple(_placed(root, parsed)))


def _parse(content: Any, name: str, split: str, place: str) -> Iterator[RawPair | str]:
    lists = [content.get(key) if isinstance(content, dict) else None for key in ("images", "annotations")]
    images, annotations = lists
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise DataError(f"{name} has no lists 'images' and 'annotations' at its top; it holds no COCO captions")
    if annotations and not any(isinstance(one, dict) and "caption" in one for one in annotations):
        raise DataError(
            f"the annotations in {name} have no 'caption'; of COCO's files, those called captions_*.json have them"
        )
    captions: dict[Any, list[Any]] = {}
    known: set[Any] = set()
    for number, entry in enumerate(images):
        if not isinstance(entry, dict) or not _is_id(entry.get("id")):
            yield f"{place}images[{number}]: {shown(entry)} is not an object with an 'id'"
        elif entry["id"] in known:
            yield f"{place}images[{number}]: the id {shown(entry['id'])} stands twice"
        else:
            known.add(entry["id"])
    for number, entry in enumerate(annotations):
        where = f"{place}annotations[{number}]"
        if not isinstance(entry, dict) or not _is_id(entry.get("image_id")) or entry["image_id"] not in known:
            image = entry.get("image_id") if isinstance(entry, dict) else entry
            yield f"{where}: it is of image {shown(image)}, which is not in 'images'"
        else:
            captions.setdefault(entry["image_id"], []).append(entry.get("caption"))
    for number, entry in enumerate(images):
        if isinstance(entry, dict) and _is_id(entry.get("id")) and entry["id"] in known:
            known.discard(entry["id"])  # of two with one id the first
            own, where = captions.get(entry["id"], []), f"{place}images[{number}]"
            yield parse_listing(image=entry.get("file_name"), captions=own, split=split, where=where)


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _placed(root: Path, parsed: list[RawPair | str]) -> Iterator[RawPair | str]:
    """Yield the listings with the path of each image, which may lie in a folder of its split."""
    away = {pair.image for pair in parsed if isinstance(pair, RawPair) and _is_away(root, pair.image)}
    below = _files_below(root, away) if away else {}
    for pair in parsed:
        places = below.get(pair.image, ()) if isinstance(pair, RawPair) and pair.image in away else ()
        if len(places) > 1:
            assert isinstance(pair, RawPair)
            yield (
                f"{pair.where}: image {shown(pair.image)} is there {len(places)} times ({', '.join(places[:3])}); set "
                "data.images to the folder that is meant"
            )
        elif places:
            assert isinstance(pair, RawPair)
            yield replace(pair, image=places[0])
        else:
            yield pair


def _is_away(root: Path, image: str) -> bool:
    """Return whether an image with a plain name is not in the root itself."""
    return "/" not in image and "\0" not in image and not os.path.lexists(root / image)


def _files_below(root: Path, names: set[str]) -> Mapping[str, list[str]]:
    """Return the paths below a folder of all files that have these names, relative to it; links are not followed."""
    found: dict[str, list[str]] = {}
    for folder, folders, files in os.walk(root):
        folders.sort()
        here = os.path.relpath(folder, root)
        for name in names.intersection(files):
            found.setdefault(name, []).append(f"{here}/{name}")
    return found
