import json
from functools import partial

import pytest
import torch

from pairstill.core.errors import ArtifactError
from pairstill.encoders.cache import CachedRows
from pairstill.encoders.cache import cached_rows as cached_rows_of

TABLE = torch.arange(22.0).reshape(11, 2)
cached_rows = partial(cached_rows_of, shard_rows=4)


@pytest.fixture
def compute():
    """Rows of TABLE; `calls` lists what was asked for."""

    def rows(start, stop):
        rows.calls.append((start, stop))
        return TABLE[start:stop]

    rows.calls = []
    return rows


def test_shards_cover_the_rows_in_order(tmp_path, compute):
    rows = cached_rows(tmp_path / "entry", 11, compute, about={"kind": "test"})
    assert compute.calls == [(0, 4), (4, 8), (8, 11)]
    assert len(rows) == 11 and rows.row_shape == (2,)
    assert torch.equal(rows.all(), TABLE)
    assert json.loads((tmp_path / "entry" / "about.json").read_text()) == {"kind": "test"}


def test_a_second_reading_computes_nothing(tmp_path, compute):
    cached_rows(tmp_path, 11, compute, about={})
    compute.calls.clear()
    assert torch.equal(cached_rows(tmp_path, 11, compute, about={}).all(), TABLE)
    assert compute.calls == []


def test_only_the_missing_shard_is_computed(tmp_path, compute):
    cached_rows(tmp_path, 11, compute, about={})
    (tmp_path / "000001.safetensors").unlink()
    compute.calls.clear()
    assert torch.equal(cached_rows(tmp_path, 11, compute, about={}).all(), TABLE)
    assert compute.calls == [(4, 8)]


def test_files_of_other_sizes_are_not_taken_for_these(tmp_path, compute):
    cached_rows(tmp_path, 11, compute, about={}, shard_rows=6)
    with pytest.raises(ArtifactError, match=r"holds 14 rows in files of other sizes, not 11; delete it"):
        cached_rows(tmp_path, 11, compute, about={})


def test_a_killed_computation_goes_on(tmp_path, compute):
    def killed(start, stop):
        if start == 8:
            raise KeyboardInterrupt
        return compute(start, stop)

    with pytest.raises(KeyboardInterrupt):
        cached_rows(tmp_path, 11, killed, about={})
    compute.calls.clear()
    assert torch.equal(cached_rows(tmp_path, 11, compute, about={}).all(), TABLE)
    assert compute.calls == [(8, 11)]


@pytest.mark.parametrize("index", [[0], [3, 4], [10, 0, 5, 5, 7, 8, 4], list(range(10, -1, -1)), []])
def test_take_across_shards(tmp_path, compute, index):
    rows = cached_rows(tmp_path, 11, compute, about={})
    index = torch.tensor(index, dtype=torch.int64)
    assert torch.equal(rows.take(index), TABLE[index])
    assert torch.equal(CachedRows([TABLE]).take(index), TABLE[index])


@pytest.mark.parametrize(("start", "stop"), [(0, 11), (3, 9), (8, 100)])
def test_slice(tmp_path, compute, start, stop):
    rows = cached_rows(tmp_path, 11, compute, about={})
    assert torch.equal(rows.slice(start, stop), TABLE[start:stop])


def test_rows_keep_their_kind(tmp_path):
    pixels = torch.randint(256, (6, 3, 2, 2), dtype=torch.uint8)
    rows = cached_rows(tmp_path, 6, lambda start, stop: pixels[start:stop], about={})
    taken = rows.take(torch.tensor([5, 1]))
    assert taken.dtype == torch.uint8
    assert torch.equal(taken, pixels[[5, 1]])


def test_progress_counts_the_rows_as_they_come(tmp_path, compute):
    told = []
    rows = cached_rows(tmp_path, 11, compute, about={}, what="texts", emit=told.append, chunk_rows=3)
    assert {event.what for event in told} == {"texts"}
    assert [(event.done, event.total) for event in told] == [(3, 11), (4, 11), (7, 11), (8, 11), (11, 11)]
    assert torch.equal(rows.all(), TABLE)
    cached_rows(tmp_path, 11, compute, about={}, emit=told.append, chunk_rows=3)
    assert len(told) == 5
