"""Images that a source has to write before they can be read as files: once, whole or not at all."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pairstill.core.errors import ArtifactError, DataError
from pairstill.data.sources.raw import RawPair, RawPairs
from pairstill.storage import file_digest, read_sealed, write_sealed, writing
from pairstill.storage.cache import cache_folder
from pairstill.storage.columns import Columns, writing_columns
from pairstill.storage.locks import exclusive

# Written last, inside a folder that is then renamed: a folder with this name in it is complete.
_DONE = "pairs.json"
_LISTINGS = "pairs.arrow"
_SCHEMA = {"image": "text", "captions": "texts", "split": "text", "where": "text"}


Part = Callable[[Path], Iterable[RawPair | str]]


def extract_once(cache_dir: Path, key: str, parts: Sequence[Part]) -> RawPairs:
    """Return the listings under `cache_dir/images/<key>`, after the parts have filled that folder if need be.

    They fill a folder beside the final one, which is renamed when everything is in it, so that nothing looks finished
    that is not. A run that is ended goes on with the part that it was at; another run that needs the same folder waits.

    Args:
        cache_dir: folder shared between runs.
        key: name of the folder; it must change with everything that its content depends on.
        parts: each writes images into the folder it gets, with `write_once`, and returns a listing or a message for
            each.

    Raises:
        ArtifactError: the finished folder's index is damaged.
        StorageError: the folder cannot be made.
    """
    folder = (cache_folder(cache_dir, "images") / key).resolve()
    if not (folder / _DONE).is_file():
        _fill(folder, parts)
    return RawPairs(folder, _index_of(folder))


def write_once(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file, whole or not at all, unless it is there: its name says what is in it.

    Raises:
        StorageError: it cannot be written.
    """
    if not path.exists():
        temporary = path.with_name(f".{path.name}")
        with writing(path):
            write(temporary)
            temporary.replace(path)


@dataclass(frozen=True)
class _Index:
    """Listings in a file, where one without an image is a message."""

    path: Path

    def __iter__(self) -> Iterator[RawPair | str]:
        for image, captions, split, where in Columns(self.path).rows(*_SCHEMA):
            yield where if image is None else RawPair(image, tuple(captions), split, where)


def _fill(folder: Path, parts: Sequence[Part]) -> None:
    work = folder.with_name(f".{folder.name}.tmp")
    with exclusive(work, on_wait=lambda holder: None):
        if (folder / _DONE).is_file():
            return  # the run that was waited for has finished it
        images = work / folder.name
        images.mkdir(parents=True, exist_ok=True)
        try:
            done = [_done(work / f"{number:06d}.arrow", part, images) for number, part in enumerate(parts)]
        except DataError:
            shutil.rmtree(work, ignore_errors=True)  # it would be raised again, until the data is other data
            raise
        _write_listings(images / _LISTINGS, chain.from_iterable(done))
        write_sealed(images / _DONE, {_LISTINGS: file_digest(images / _LISTINGS)})
        with writing(folder):
            images.rename(folder)
        shutil.rmtree(work, ignore_errors=True)


def _done(path: Path, part: Part, images: Path) -> Iterable[RawPair | str]:
    """Return the listings of a part, which are in a file once its images are written."""
    if not path.is_file():
        temporary = path.with_suffix(".part")
        _write_listings(temporary, part(images))
        temporary.replace(path)
    return _Index(path)


def _write_listings(path: Path, listings: Iterable[RawPair | str]) -> None:
    with writing_columns(path, _SCHEMA) as add:
        for one in listings:
            if isinstance(one, RawPair):
                add(one.image, one.captions, one.split, one.where)
            else:
                add(None, (), None, one)


def _index_of(folder: Path) -> Iterable[RawPair | str]:
    """Return the listings of a finished folder."""
    index = read_sealed(folder / _DONE)
    try:
        if "pairs" in index:  # as it was before the listings had a file of their own
            pairs = [RawPair(image, tuple(texts), split, where) for image, texts, split, where in index["pairs"]]
            return (*pairs, *index["unreadable"])
        if file_digest(folder / _LISTINGS) == index[_LISTINGS]:
            return _Index(folder / _LISTINGS)
        why = "it does not match its checksum"
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder / _DONE} is damaged ({error!r}); delete the folder {folder}") from error
    raise ArtifactError(f"{folder / _LISTINGS} is damaged ({why}); delete the folder {folder}")
