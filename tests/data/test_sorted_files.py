"""Rows are found in sorted files by their keys; merged files hold the newest of each."""

import numpy
import pytest

from pairstill.data import sorted_files
from pairstill.data.sorted_files import ROW, merge, read_sorted, write_sorted

KEYS = numpy.random.default_rng(0).integers(0, 2**64, (50, 2), dtype=numpy.uint64)


def rows(places, sizes):
    made = numpy.zeros(len(places), ROW)
    made["key"], made["size"] = KEYS[places], sizes
    return made


def sizes_in(files):
    """Return the size of each of the keys in the only file, 0 for those that are not there."""
    (file,) = files
    places = file.find(KEYS)
    return [int(file.rows["size"][place]) if place >= 0 else 0 for place in places]


def test_rows_are_found_by_their_keys(tmp_path):
    write_sorted(tmp_path, rows(range(0, 50, 2), range(1, 26)))
    expected = [place // 2 + 1 if place % 2 == 0 else 0 for place in range(50)]
    assert sizes_in(read_sorted(tmp_path)) == expected
    other = KEYS.copy()
    other[:, 1] += numpy.uint64(1)
    assert set(read_sorted(tmp_path)[0].find(other).tolist()) == {-1}, "both halves of a key count"


@pytest.mark.parametrize("at_once", [1, 9, 1000])
def test_the_newest_row_counts_and_one_below_zero_takes_back(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(sorted_files, "MERGED_AT_ONCE", at_once)
    write_sorted(tmp_path, rows(range(50), range(1, 51)))
    write_sorted(tmp_path, rows(range(10), [100] * 10))
    write_sorted(tmp_path, rows(range(5), [-1] * 5))
    found = merge(tmp_path)
    assert sizes_in(found) == [0] * 5 + [100] * 5 + list(range(11, 51))
    heads = found[0].heads.tolist()
    assert heads == sorted(heads) and len(list(tmp_path.glob("*.rows"))) == 1
    assert sizes_in(merge(tmp_path)) == sizes_in(found)


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: b"x" + c[1:], lambda c: b"", lambda c: c + c])
def test_a_damaged_file_counts_as_none(tmp_path, damage):
    write_sorted(tmp_path, rows(range(50), range(1, 51)))
    (path,) = tmp_path.glob("*.rows")
    path.write_bytes(damage(path.read_bytes()))
    assert read_sorted(tmp_path) == []
