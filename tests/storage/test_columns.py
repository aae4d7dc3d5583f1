"""Columns on the disk hold what was added, in batches, and say when they are damaged."""

import pickle

import pytest

from pairstill.core.errors import ArtifactError
from pairstill.storage.columns import BATCH_ROWS, Columns, writing_columns

SCHEMA = {"name": "text", "words": "texts"}


def write(path, count, metadata=None):
    with writing_columns(path, SCHEMA, metadata) as add:
        for number in range(count):
            add(f"row {number}", [f"é{number}"] * (number % 3))
    return Columns(path)


@pytest.mark.parametrize("count", [0, 1, BATCH_ROWS, BATCH_ROWS + 1, 2 * BATCH_ROWS + 5])
def test_rows_come_back_in_order(tmp_path, count):
    columns = write(tmp_path / "a.arrow", count)
    assert len(columns) == count
    expected = [(f"row {number}", [f"é{number}"] * (number % 3)) for number in range(count)]
    assert list(columns.rows("name", "words")) == expected
    assert [len(names) for (names,) in columns.batches("name")] == [
        min(BATCH_ROWS, count - start) for start in range(0, count, BATCH_ROWS)
    ]


def test_any_rows_are_read_in_any_order_by_any_process(tmp_path):
    columns = pickle.loads(pickle.dumps(write(tmp_path / "a.arrow", 2 * BATCH_ROWS)))
    rows = [BATCH_ROWS + 1, 0, 5, BATCH_ROWS, 5]
    assert columns.take("name", rows) == [f"row {row}" for row in rows]
    assert columns.take("name", []) == []
    assert columns.row(BATCH_ROWS + 1, "words", "name") == [[f"é{BATCH_ROWS + 1}"] * 2, f"row {BATCH_ROWS + 1}"]


def test_rows_in_any_order_read_each_batch_once(tmp_path, monkeypatch):
    monkeypatch.setattr("pairstill.storage.columns.BATCH_ROWS", 4)
    columns = write(tmp_path / "a.arrow", 4 * 40 + 1)
    rows = [(8 * number) % len(columns) for number in range(2 * len(columns))]
    assert columns.take("name", rows) == [f"row {row}" for row in rows]
    assert columns._batch.cache_info().misses == 41
    assert columns.take_rows(rows[:2], "words", "name") == [([], "row 0"), (["é8", "é8"], "row 8")]


def test_whatever_reads_arrow_opens_them(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    columns = write(tmp_path / "a.arrow", 3, {"of": "pairs"})
    with pyarrow.ipc.open_file(str(tmp_path / "a.arrow")) as file:
        assert file.read_all().column("name").to_pylist() == ["row 0", "row 1", "row 2"]
    assert (columns.metadata, columns.schema) == ({"of": "pairs"}, SCHEMA)


def test_what_is_missing_cut_or_not_ours_is_refused(tmp_path):
    path = tmp_path / "a.arrow"
    with pytest.raises(ArtifactError, match=r"a\.arrow does not exist"):
        Columns(path)
    write(path, 10)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match=r"a\.arrow is damaged"):
        Columns(path)
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"name": ["x"] * 10})
    with pyarrow.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    with pytest.raises(ArtifactError, match=r"its batches have \[4, 2\] rows"):
        Columns(path)


def test_a_batch_of_another_size_in_between_is_found(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    path, of = tmp_path / "a.arrow", pyarrow.schema([("name", pyarrow.large_string())])
    with pyarrow.ipc.new_file(str(path), of) as writer:
        for count in (BATCH_ROWS, 1, BATCH_ROWS):
            writer.write_batch(pyarrow.record_batch([pyarrow.array(["x"] * count, pyarrow.large_string())], schema=of))
    with pytest.raises(ArtifactError, match=r"a\.arrow is damaged \(batch 1 has 1 rows\)"):
        list(Columns(path).rows("name"))
