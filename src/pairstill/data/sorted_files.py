"""What is known of many images, as files of rows sorted by their keys, which are looked up where they lie."""

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

import numpy
from numpy.typing import NDArray

from pairstill.data.keys import key_order
from pairstill.storage.files import write_atomic

ROW = numpy.dtype(
    [
        *[("key", "<u8", 2), ("size", "<i8"), ("written", "<i8"), ("changed", "<i8")],
        *[("digest", "u1", 32), ("pixels", "<u8")],
    ]
)
"""What is known of an image; a size below 0 takes back what older files say."""
_HEAD = numpy.dtype("<u8")
_SEAL_BYTES = 32
_SUFFIX = ".rows"
MERGED_AT_ONCE = 2**18


@dataclass(frozen=True)
class Sorted:
    """A file of rows: these, then the first number of each key once more, then the SHA-256 of it all.

    Attributes:
        path: the file.
        rows: its rows in the order of their keys.
        heads: the first number of each key.
    """

    path: Path
    rows: NDArray[numpy.void]
    heads: NDArray[numpy.uint64]

    def find(self, keys: NDArray[numpy.uint64]) -> NDArray[numpy.int64]:
        """Return the row of each of the keys (keys, 2); -1 for those that are not there."""
        places = numpy.searchsorted(self.heads, keys[:, 0])
        places[places == len(self.heads)] = 0
        # of two keys with one head, which there hardly are, the second one counts as not there
        return numpy.where((self.rows[places]["key"] == keys).all(1), places, -1)


def read_sorted(folder: Path) -> list[Sorted]:
    """Return the files of a folder, the oldest first; one that is damaged counts as none."""
    found = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        with suppress(OSError, ValueError):
            found.append(_opened(path))
    return found


def _opened(path: Path) -> Sorted:
    size = path.stat().st_size - _SEAL_BYTES
    count, rest = divmod(size, ROW.itemsize + _HEAD.itemsize)
    if count < 1 or rest:
        raise ValueError(f"{path} is cut short")
    with path.open("rb") as stream:
        state, left = hashlib.sha256(), size
        while left:
            part = stream.read(min(left, 2**20))
            state.update(part)
            left -= len(part)
        if stream.read() != state.digest():
            raise ValueError(f"{path} is damaged")
    rows = numpy.memmap(path, ROW, "r", shape=(count,))
    heads = numpy.memmap(path, _HEAD, "r", offset=count * ROW.itemsize, shape=(count,))
    return Sorted(path, numpy.asarray(rows), numpy.asarray(heads))


def write_sorted(folder: Path, rows: NDArray[numpy.void]) -> None:
    """Write rows, of which no two have one key, as the newest file of a folder.

    Raises:
        StorageError: it cannot be written.
    """
    name = f"{time.time_ns():020d}-{secrets.token_hex(4)}{_SUFFIX}"
    _write(folder / name, iter([rows[key_order(rows["key"])]]))


def merge(folder: Path) -> list[Sorted]:
    """Make one file of all in a folder, and return it; of rows with one key the newest counts.

    Raises:
        StorageError: it cannot be written.
    """
    files = read_sorted(folder)
    if len(files) > 1:
        _write(files[-1].path, _merged(files))  # in the newest one's place, so that those that come meanwhile are newer
        for file in files[:-1]:
            file.path.unlink(missing_ok=True)
        files = read_sorted(folder)
    return files


def _merged(files: Sequence[Sorted]) -> Iterator[NDArray[numpy.void]]:
    """Yield the rows of all files in the order of their keys, a part at a time."""
    parts = max(1, sum(len(file.heads) for file in files) // MERGED_AT_ONCE)
    step = 2**64 // parts
    for part in range(parts):
        taken = []
        for file in files:
            low = int(numpy.searchsorted(file.heads, numpy.uint64(part * step)))
            above = None if part == parts - 1 else numpy.uint64((part + 1) * step)
            high = len(file.heads) if above is None else int(numpy.searchsorted(file.heads, above))
            taken.append(file.rows[low:high])
        rows = numpy.concatenate(taken)
        rows = rows[key_order(rows["key"])]  # equal ones oldest first
        newest = numpy.ones(len(rows), bool)
        newest[:-1] = (rows["key"][1:] != rows["key"][:-1]).any(1)
        yield rows[newest & (rows["size"] >= 0)]


def _write(path: Path, parts: Iterator[NDArray[numpy.void]]) -> None:
    def write(temporary: Path) -> None:
        heads = temporary.with_suffix(".heads")
        with temporary.open("w+b") as stream, heads.open("w+b") as other:
            for rows in parts:
                stream.write(rows.tobytes())
                other.write(rows["key"][:, 0].tobytes())
            other.seek(0)
            shutil.copyfileobj(other, stream)
            stream.write(_digest_of(stream))

    write_atomic(path, write)


def _digest_of(stream: BufferedRandom) -> bytes:
    stream.seek(0)
    state = hashlib.file_digest(stream, "sha256").digest()
    stream.seek(0, os.SEEK_END)
    return state
