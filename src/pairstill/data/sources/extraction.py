"""Images that a source has to write before they can be read as files: once, whole or not at all."""

from collections.abc import Callable, Iterable
from pathlib import Path

from pairstill.core.errors import ArtifactError, StorageError
from pairstill.data.sources.raw import RawPair, RawPairs, collect
from pairstill.storage import read_sealed, temporary_folder, write_sealed
from pairstill.storage.cache import cache_folder

# Written last, inside a folder that is then renamed: a folder with this name in it is complete.
_DONE = "pairs.json"


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
    return _load_index(folder)


def _fill(folder: Path, write: Callable[[Path], Iterable[RawPair | str]]) -> None:
    with temporary_folder(folder) as temporary:
        images = temporary / folder.name
        images.mkdir()
        raw = collect(images, write(images))
        index = {
            "pairs": [[pair.image, list(pair.captions), pair.split, pair.where] for pair in raw.pairs],
            "unreadable": list(raw.unreadable),
        }
        write_sealed(images / _DONE, index)
        try:
            images.rename(folder)
        except OSError as error:
            # Another run finished the same folder first; its content is the same. Anything else is an error.
            if not (folder / _DONE).is_file():
                raise StorageError.cannot_write(folder, error) from error


def _load_index(folder: Path) -> RawPairs:
    index = read_sealed(folder / _DONE)
    try:
        pairs = tuple(RawPair(image, tuple(captions), split, where) for image, captions, split, where in index["pairs"])
        return RawPairs(folder, pairs, tuple(index["unreadable"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder / _DONE} is damaged ({error!r}); delete the folder {folder}") from error
