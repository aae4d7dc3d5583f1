"""Equal things among many, found by digests of 16 bytes that lie on the disk, a bounded number of them in memory."""

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy
from numpy.typing import NDArray

from pairstill.storage import writing

KEY_BYTES = 16
MOST_AT_ONCE = 2**20
"""Keys that are sorted at a time, in some 100 bytes each."""
_BLOCK = 2**18
_APPENDED = 2**20


def key_of(text: str) -> bytes:
    """Return the key of a text: among 400 million, two have the same with a probability of 1e-21."""
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def blocks(count: int, size: int = _BLOCK) -> Iterator[slice]:
    """Yield the parts of something long, each short enough to be in memory."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


@dataclass(frozen=True)
class Scratch:
    """Arrays on the disk, in a folder that is removed when they are no longer needed.

    Attributes:
        folder: where they lie.
    """

    folder: Path

    def array(self, name: str, kind: numpy.typing.DTypeLike, *shape: int) -> NDArray:
        """Return a new array of zeros."""
        if 0 in shape:
            return numpy.zeros(shape, kind)
        path, size = self.folder / name, math.prod(shape) * numpy.dtype(kind).itemsize
        with writing(path), path.open("wb") as stream:
            stream.truncate(size)
            if hasattr(os, "posix_fallocate"):  # a mapped page that finds the disk full would end the process
                os.posix_fallocate(stream.fileno(), 0, size)
        return numpy.asarray(numpy.memmap(path, kind, "r+", shape=shape))

    @contextmanager
    def appending(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """Give a function that adds bytes to the file of this name.

        Raises:
            StorageError: it cannot be written.
        """
        path, pending = self.folder / name, bytearray()

        def write() -> None:
            with writing(path), path.open("ab") as stream:
                stream.write(pending)
            pending.clear()

        def add(more: bytes) -> None:
            pending.extend(more)
            if len(pending) >= _APPENDED:
                write()

        yield add
        write()

    def written(self, name: str, kind: numpy.typing.DTypeLike) -> NDArray:
        """Return the array whose bytes were written to the file of this name."""
        path = self.folder / name
        return numpy.asarray(numpy.memmap(path, kind, "r")) if path.stat().st_size else numpy.zeros(0, kind)


def key_order(keys: NDArray[numpy.unsignedinteger]) -> NDArray[numpy.int64]:
    """Return the rows of keys (rows, 2) from the smallest on; equal ones stay in their order."""
    return numpy.lexsort((keys[:, 1], keys[:, 0]))


@dataclass(frozen=True)
class Links:
    """Which rows are equal.

    Attributes:
        first: the first row that equals each one, itself perhaps, (rows,).
        following: the next row that equals each one; -1 where none comes, (rows,).
    """

    first: NDArray[numpy.int64]
    following: NDArray[numpy.int64]

    def rows_of(self, row: int) -> list[int]:
        """Return a row and all that follow it and equal it, in order."""
        rows = [row]
        while (row := int(self.following[row])) >= 0:
            rows.append(row)
        return rows


def linked(keys: NDArray[numpy.uint64], scratch: Scratch, name: str, most: int = MOST_AT_ONCE) -> Links:
    """Return which rows have the same key.

    Where there are more than `most`, they are gone through several times: keys that leave the same remainder are
    together in memory.

    Args:
        keys: of each row, (rows, 2).
        scratch: where the links are kept.
        name: what their files are called.
        most: about how many keys are sorted at a time.

    Example:
        >>> rows = linked(numpy.array([[1, 0], [2, 0], [1, 0]], dtype="u8"), scratch, "images")
        >>> rows.first.tolist(), rows.following.tolist()
        ([0, 1, 0], [2, -1, -1])
    """
    count = len(keys)
    first, following = (scratch.array(f"{name}.{what}", numpy.int64, count) for what in ("first", "following"))
    links = Links(first, following)
    parts = max(1, -(-count // most))
    for part in range(parts):
        here = [numpy.flatnonzero(keys[some, 0] % parts == part) + some.start for some in blocks(count)]
        if here:
            _link(numpy.concatenate(here), keys, links)
    return links


def _link(rows: NDArray[numpy.int64], keys: NDArray[numpy.uint64], links: Links) -> None:
    """Fill in the links of rows that equal no other ones."""
    own = keys[rows]
    order = key_order(own)
    own, rows = own[order], rows[order]
    begins = numpy.ones(len(rows), bool)
    begins[1:] = (own[1:] != own[:-1]).any(1)
    starts = numpy.flatnonzero(begins)
    links.first[rows] = numpy.repeat(rows[starts], numpy.diff(numpy.append(starts, len(rows))))
    following = numpy.full(len(rows), -1)
    following[:-1][~begins[1:]] = rows[1:][~begins[1:]]
    links.following[rows] = following
