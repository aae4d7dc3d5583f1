"""Images that a source has to write before they can be read as files: once, whole or not at all."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pairstill.core.errors import ArtifactError, StorageError
from pairstill.data.sources.raw import RawPair, RawPairs
from pairstill.storage import file_digest, read_sealed, temporary_folder, write_sealed
from pairstill.storage.cache import cache_folder
from pairstill.storage.columns import Columns, writing_columns

# Written last, inside a folder that is then renamed: a folder with this name in it is complete.
_DONE = "pairs.json"
_LISTINGS = "pairs.arrow"
_SCHEMA = {"image": "text", "captions": "texts", "split": "text", "where": "text"}


def extract_once(cache_dir: Path, key: str, write: Callable[[Path], Iterable[RawPair | str]]) -> RawPairs:
    """Return the listings under `cache_dir/images/<key>`, after `write` has filled that folder if need be.

    `write` fills a temporary folder beside the final one, which is renamed when everything is in it; an
    interrupted run leaves nothing that looks finished.

    Args:
        cache_dir: folder shared between runs.
        key: name of the folder; it must change with everything that its content depends on.
        write: writes the images into the folder it gets, and returns a listing or a message for each.

    Raises:
        ArtifactError: the finished folder's index is damaged.
        StorageError: the folder cannot be made.
    """
    folder = (cache_folder(cache_dir, "images") / key).resolve()
    if not (folder / _DONE).is_file():
        _fill(folder, write)
    return RawPairs(folder, _index_of(folder))


@dataclass(frozen=True)
class _Index:
    """Listings in a file, where one without an image is a message."""

    path: Path

    def __iter__(self) -> Iterator[RawPair | str]:
        for image, captions, split, where in Columns(self.path).rows(*_SCHEMA):
            yield where if image is None else RawPair(image, tuple(captions), split, where)


def _fill(folder: Path, write: Callable[[Path], Iterable[RawPair | str]]) -> None:
    with temporary_folder(folder) as temporary:
        images = temporary / folder.name
        images.mkdir()
        _write_index(images, write(images))
        try:
            images.rename(folder)
        except OSError as error:
            # Another run finished the same folder first; its content is the same. Anything else is an error.
            if not (folder / _DONE).is_file():
                raise StorageError.cannot_write(folder, error) from error


def _write_index(folder: Path, listings: Iterable[RawPair | str]) -> None:
    with writing_columns(folder / _LISTINGS, _SCHEMA) as add:
        for one in listings:
            if isinstance(one, RawPair):
                add(one.image, one.captions, one.split, one.where)
            else:
                add(None, (), None, one)
    write_sealed(folder / _DONE, {_LISTINGS: file_digest(folder / _LISTINGS)})


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
