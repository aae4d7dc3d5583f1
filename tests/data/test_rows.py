"""Sequences that are read when they are asked for are like tuples in all else."""

import pytest

from pairstill.data.rows import Rows, values_at
from pairstill.storage.columns import BATCH_ROWS


def made(count):
    asked = []

    def read(places):
        asked.append(len(places))
        return [10 * int(place) for place in places]

    return Rows(count, read), asked


def test_single_values_slices_and_all():
    rows, _ = made(5)
    assert (rows[0], rows[-1], rows[1:3], rows[::-2]) == (0, 40, [10, 20], [40, 20, 0])
    assert list(rows) == [0, 10, 20, 30, 40] and rows.at([3, 3, 0]) == [30, 30, 0]
    for place in (5, -6):
        with pytest.raises(IndexError):
            rows[place]


def test_they_equal_sequences_of_the_same_values():
    rows, _ = made(3)
    assert rows == [0, 10, 20] and rows == (0, 10, 20) and rows == made(3)[0]
    assert rows != [0, 10] and rows != [0, 10, 30] and rows != "abc" and made(0)[0] == []


def test_going_through_reads_a_batch_at_a_time():
    rows, asked = made(2 * BATCH_ROWS + 1)
    assert sum(1 for _ in rows) == 2 * BATCH_ROWS + 1
    assert asked == [BATCH_ROWS, BATCH_ROWS, 1]


def test_values_of_any_sequence_at_some_places():
    rows, asked = made(9)
    assert values_at(rows, [8, 1]) == [80, 10] and values_at("abc", [2, 0]) == ["c", "a"]
    assert asked == [2], "read together"
