"""Rows that are computed once and kept on disk, keyed by everything that determines them.

Text embeddings, frozen image features and decoded pixels are all "one row per item, in order". They are written
in shards, each atomically, so that a killed computation goes on with the next shard, and they are memory-mapped
when read, so that a large set needs no RAM.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pairstill.core.errors import ArtifactError
from pairstill.core.world import World
from pairstill.events import Emit, RowsComputed, silent
from pairstill.storage import load_tensors, save_tensors, write_json

SHARD_ROWS = 4096
CHUNK_ROWS = 256
ALONE = World()


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

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "CachedRows":
        """Return the rows that `change` makes of these, shard by shard, in memory."""
        return CachedRows([change(shard) for shard in self._shards])

    def all(self) -> Tensor:
        """Return every row; for rows that fit in memory."""
        return self._shards[0] if len(self._shards) == 1 else torch.cat(self._shards)


def cached_rows(
    folder: Path,
    num_rows: int,
    compute: Callable[[int, int], Tensor],
    *,
    about: dict[str, object],
    shard_rows: int | None = None,
    chunk_rows: int = CHUNK_ROWS,
    what: str = "Rows",
    emit: Emit = silent,
    world: World = ALONE,
) -> CachedRows:
    """Return the rows of a cache entry, computing the shards that are not there yet; ranks share them out.

    Args:
        folder: the entry's folder; its name must contain the digest of everything that determines the rows.
        num_rows: how many rows there are.
        compute: returns rows `start` to `stop`, at most `chunk_rows`, as a tensor (stop - start, ...).
        about: what the entry holds, written beside it for people.
        shard_rows: rows of a shard, which is what a computation that is killed loses at most; None for `SHARD_ROWS`.
        chunk_rows: rows that are computed at a time.
        what: the rows, as people are told of them.
        emit: told of the rows as they are computed; of nothing when all were there.
        world: the ranks, which all call this.

    Raises:
        ArtifactError: the files that are there hold other numbers of rows.
        RankError: another rank stopped.
    """
    step = shard_rows or SHARD_ROWS
    paths = [folder / f"{number:06d}.safetensors" for number in range(-(-num_rows // step))]
    missing = world.from_main(lambda: _missing(folder, paths, about))
    for number in world.shard(missing):
        stop = min((number + 1) * step, num_rows)
        chunks = []
        for at in range(number * step, stop, chunk_rows):
            end = min(at + chunk_rows, stop)
            chunks.append(compute(at, end))
            # ranks go through the shards side by side, so that one's place is about that of all
            emit(RowsComputed(what=what, done=end, total=num_rows))
        save_tensors(paths[number], {"rows": torch.cat(chunks)})
    if missing:
        world.barrier()
    rows = CachedRows([load_tensors(path)["rows"] for path in paths])
    if len(rows) != num_rows:
        raise ArtifactError(
            f"{folder} holds {len(rows)} rows in files of other sizes, not {num_rows}; delete it, and the same command "
            "computes them anew"
        )
    return rows


def _missing(folder: Path, paths: Sequence[Path], about: dict[str, object]) -> list[int]:
    """Return the numbers of the shards that are not there, after writing what the entry holds if none are."""
    # listed, not looked for one by one: network file systems remember for a while that a file was not there
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    missing = [number for number, path in enumerate(paths) if path.name not in present]
    if 0 in missing:
        write_json(folder / "about.json", about)
    return missing
