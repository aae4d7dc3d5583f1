"""What a source hands over: listings as they stand in its files, not yet checked against the images."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairstill.config import DataConfig
from pairstill.core.errors import DataError, shown
from pairstill.core.schema import Split
from pairstill.data.inside import path_of
from pairstill.data.sources.cells import all_captions
from pairstill.data.sources.recognition import hint, refuse_other

MAX_LISTING_BYTES = 2**31
"""A listing of JSON is held in memory, several times over."""


@dataclass(frozen=True, slots=True)
class RawPair:
    """One listing: an image with the captions that the source gives it in one place.

    Attributes:
        image: path of the image as written in the source, meant relative to the image root.
        captions: captions as written, at least one.
        split: name of the split as written (or as the source's rule makes it).
        where: the place of the listing, for messages, such as "line 12".
    """

    image: str
    captions: tuple[str, ...]
    split: str
    where: str


@dataclass(frozen=True)
class Lazily:
    """Listings that are read anew whenever they are gone through, so that they need not be in memory.

    Attributes:
        begin: begins at the first.
    """

    begin: Callable[[], Iterator[RawPair | str]]

    def __iter__(self) -> Iterator[RawPair | str]:
        """Go through them."""
        return self.begin()


@dataclass(frozen=True)
class RawPairs:
    """All listings of a source.

    Attributes:
        image_root: absolute folder that image paths start from and may not leave.
        listings: in the source's order, each listing, or a message for one that could not be read.
        notes: what else must be said of how they were read, a sentence each.
    """

    image_root: Path
    listings: Iterable[RawPair | str]
    notes: tuple[str, ...] = ()

    @property
    def pairs(self) -> tuple[RawPair, ...]:
        """The listings that could be read, all in memory."""
        return tuple(item for item in self.listings if isinstance(item, RawPair))

    @property
    def unreadable(self) -> tuple[str, ...]:
        """The messages for those that could not be read."""
        return tuple(item for item in self.listings if isinstance(item, str))


def parse_listing(*, image: Any, captions: Any, split: Any, where: str) -> RawPair | str:
    """Return the listing, or a message that says what is wrong with its fields.

    Args:
        image: must be a string that is not empty.
        captions: must be a string, or a list of strings that is not empty; a string may be such a list written out.
        split: must be a string.
        where: the place of the listing.
    """
    if not isinstance(image, str) or not image:
        return f"{where}: the image is {shown(image)}; it must be a path"
    try:
        captions = all_captions(captions)
    except ValueError as error:
        return f"{where}: the caption {shown(captions)} {error}"
    if not isinstance(captions, list | tuple) or not all(isinstance(caption, str) for caption in captions):
        return f"{where}: the caption is {shown(captions)}; it must be a string or a list of strings"
    if not captions:
        return f"{where}: image {shown(image)} has no caption"
    if not isinstance(split, str):
        return f"{where}: the split is {shown(split)}; it must be a string"
    if not all(_is_unicode(text) for text in (image, split, *captions)):
        return f"{where}: image {shown(image)} or a caption holds half a surrogate pair; write it as valid Unicode"
    return RawPair(image, tuple(captions), split, where)


def _is_unicode(text: str) -> bool:
    """Tell whether `text` can be written as UTF-8; JSON's escapes allow strings that cannot."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def root_of(config: DataConfig) -> Path:
    """Return the dataset's folder, links followed.

    Raises:
        DataError: `data.root` is not set, or not a path.
    """
    if config.root is None:
        raise DataError(f"data.source is {config.source}: set data.root to where the pairs are")
    return path_of(config.root, "data.root")


def folder_of(config: DataConfig) -> Path:
    """Return the dataset's folder, links followed.

    Raises:
        DataError: `data.root` is not set, or not a folder.
    """
    root = root_of(config)
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise DataError(f"data.root is {config.root}, but {root} {what}; set it to the folder of the dataset")
    return root


def image_root_of(config: DataConfig) -> Path:
    """Return the absolute folder of the image files.

    Raises:
        DataError: it is not a folder.
    """
    folder = path_of(str(folder_of(config) / config.images), "data.images")
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; set data.images to the folder of the image files below data.root")
    return folder


def annotations_of(config: DataConfig) -> Path:
    """Return the path of the annotations file.

    Raises:
        DataError: it is not set, or not a file.
    """
    if config.annotations is None:
        raise DataError(f"data.source is {config.source}: set data.annotations to its file, relative to data.root")
    return _listing_file(config, config.annotations, "data.annotations")


def _listing_file(config: DataConfig, name: str, setting: str) -> Path:
    path = path_of(str(folder_of(config) / name), setting)
    if not path.is_file():
        raise DataError(
            f"{path} is not a file{hint(path, config.source)}; set {setting} to the annotations file, relative to "
            "data.root"
        )
    return path


def parse_data_json(text: str) -> Any:
    """Return the value of a JSON text; an object that names a key twice is an error, since one value would be lost.

    Raises:
        ValueError: it is not JSON; RecursionError: it is nested too deeply.
    """

    def once(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            names = [name for name, _ in items]
            raise ValueError(
                f"the key {shown(next(n for n in names if names.count(n) > 1))} stands twice in one object"
            )
        return found

    return json.loads(text, object_pairs_hook=once)


@dataclass(frozen=True)
class SplitFile:
    """A JSON file of pairs.

    Attributes:
        name: as it is called.
        split: the split that it is for; `train` of one for all.
        place: what the place of a listing begins with: the file, where there are several.
        content: the JSON value.
    """

    name: str
    split: Split
    place: str
    content: Any


def split_files(config: DataConfig) -> Iterator[SplitFile]:
    """Yield the files of the splits, or the one for all, one after the other: they may be large.

    Raises:
        DataError: a file is missing, is not JSON, or is what another source reads.
    """
    for split, name in config.splits.named.items():
        path = _listing_file(config, name, f"data.splits.{split}")
        yield SplitFile(name, split, f"{name}: ", _json_of(path, config, name))
    if not config.splits.named:
        yield SplitFile(str(config.annotations), "train", "", read_annotations_json(config))


def read_annotations_json(config: DataConfig, *also: str) -> Any:
    """Return the content of a JSON annotations file.

    Args:
        config: the data settings.
        also: other sources whose files this one reads as well.

    Raises:
        DataError: the file is missing, is not JSON, or is what another source reads.
    """
    return _json_of(annotations_of(config), config, str(config.annotations), *also)


def _json_of(path: Path, config: DataConfig, name: str, *also: str) -> Any:
    if (size := path.stat().st_size) > MAX_LISTING_BYTES:
        raise DataError(
            f"{path} has {size} bytes, more than the {MAX_LISTING_BYTES} of JSON that fit into memory; write the pairs "
            "as a table or as tar shards, which are read piece by piece"
        )
    try:
        content = parse_data_json(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # not JSON, numbers of thousands of digits, brackets without end
        raise DataError(
            f"{path} is not valid JSON ({error}){hint(path, config.source) or '; fetch or export it again'}"
        ) from error
    refuse_other(config, content, name, *also)
    return content
