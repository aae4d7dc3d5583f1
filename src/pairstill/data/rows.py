"""Sequences whose values are read from columns when they are asked for."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, overload

import numpy
from numpy.typing import NDArray

from pairstill.storage.columns import BATCH_ROWS

T = TypeVar("T")


def values_at(values: Sequence[T], places: Sequence[int]) -> list[T]:
    """Return the values of a sequence at some places, in their order; of `Rows`, all are read together."""
    return values.at(places) if isinstance(values, Rows) else [values[place] for place in places]


class Rows(Sequence[T]):
    """Values that are read in parts; a slice is a list, and only what is asked for is in memory."""

    def __init__(self, count: int, read: Callable[[NDArray[numpy.int64]], list[T]]) -> None:
        """Keep how many values there are, and what returns those at some places."""
        self._count, self._read = count, read

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        """Return a value, or those of a slice as a list."""
        if isinstance(place, slice):
            return self._read(numpy.arange(*place.indices(self._count)))
        if not -self._count <= place < self._count:
            raise IndexError(f"{place} of {self._count}")
        return self._read(numpy.array([place % self._count]))[0]

    def at(self, places: Sequence[int]) -> list[T]:
        """Return the values at some places, in their order, all read together."""
        return self._read(numpy.asarray(places, dtype=numpy.int64)) if len(places) else []

    def __iter__(self) -> Iterator[T]:
        """Yield all in order."""
        for start in range(0, self._count, BATCH_ROWS):
            yield from self[start : start + BATCH_ROWS]

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence has the same values."""
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # pyright: ignore[reportAssignmentType] - as of lists

    def __repr__(self) -> str:
        """Return the first of them."""
        first = ", ".join(map(repr, self[:3]))
        return f"[{first}{', ...' if self._count > 3 else ''}] of {self._count}"
