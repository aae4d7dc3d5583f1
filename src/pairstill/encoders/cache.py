"""Rows that are computed once and kept on disk, keyed by everything that determines them.

Text embeddings, frozen image features and decoded pixels are all "one row per item, in order". They are written
in shards, each atomically, so that a killed computation goes on with the next shard, and they are memory-mapped
when read, so that a large set needs no RAM.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pairstill.events import Emit, RowsComputed, silent
from pairstill.storage import load_tensors, save_tensors, write_json

SHARD_ROWS = 4096
CHUNK_ROWS = 256


class CachedRows:
    """Rows (items, ...) read from the shards of one cache entry."""

    def __init__(self, shards: list[Tensor]) -> None:
        """Hold the shards."""
        self._shards = shards
        self._starts = torch.tensor([0, *(len(shard) for shard in shards)]).cumsum(0)

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._starts[-1])

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return tuple(self._shards[0].shape[1:])

    def take(self, index: Tensor) -> Tensor:
        """Return rows (index, ...) in the order of `index`, a vector of row numbers."""
        if len(self._shards) == 1:
            return self._shards[0][index]
        out = torch.empty(len(index), *self.row_shape, dtype=self._shards[0].dtype)
        shard_of = torch.bucketize(index, self._starts[1:], right=True)
        for shard in shard_of.unique().tolist():
            here = shard_of == shard
            out[here] = self._shards[shard][index[here] - self._starts[shard]]
        return out

    def slice(self, start: int, stop: int) -> Tensor:
        """Return rows `start` to `stop`."""
        return self.take(torch.arange(start, min(stop, len(self))))

    def all(self) -> Tensor:
        """Return every row; for rows that fit in memory."""
        return self._shards[0] if len(self._shards) == 1 else torch.cat(self._shards)


def cached_rows(
    folder: Path,
    num_rows: int,
    compute: Callable[[int, int], Tensor],
    *,
    about: dict[str, object],
    shard_rows: int = SHARD_ROWS,
    chunk_rows: int = CHUNK_ROWS,
    what: str = "Rows",
    emit: Emit = silent,
) -> CachedRows:
    """Return the rows of a cache entry, computing the shards that are not there yet.

    Args:
        folder: the entry's folder; its name must contain the digest of everything that determines the rows.
        num_rows: how many rows there are.
        compute: returns rows `start` to `stop`, at most `chunk_rows`, as a tensor (stop - start, ...).
        about: what the entry holds, written beside it for people.
        shard_rows: rows of a shard, which is what a computation that is killed loses at most.
        chunk_rows: rows that are computed at a time.
        what: the rows, as people are told of them.
        emit: told of the rows as they are computed; of nothing when all were there.
    """
    shards = []
    for number, start in enumerate(range(0, num_rows, shard_rows)):
        path = folder / f"{number:06d}.safetensors"
        if not path.is_file():
            if number == 0:
                write_json(folder / "about.json", about)
            stop = min(start + shard_rows, num_rows)
            chunks = []
            for at in range(start, stop, chunk_rows):
                end = min(at + chunk_rows, stop)
                chunks.append(compute(at, end))
                emit(RowsComputed(what=what, done=end, total=num_rows))
            save_tensors(path, {"rows": torch.cat(chunks)})
        shards.append(load_tensors(path)["rows"])
    return CachedRows(shards)
