"""Equal rows are found by their keys, however few of them may be in memory."""

import numpy
import pytest

from pairstill.data.keys import Scratch, key_of, linked


def test_links_of_three(tmp_path):
    links = linked(numpy.array([[1, 0], [2, 0], [1, 0]], dtype="u8"), Scratch(tmp_path), "images")
    assert (links.first.tolist(), links.following.tolist()) == ([0, 1, 0], [2, -1, -1])
    assert links.rows_of(0) == [0, 2] and links.rows_of(1) == [1]


@pytest.mark.parametrize("most", [1, 7, 100, 10_000])
def test_links_are_those_of_a_dictionary(tmp_path, most):
    draw = numpy.random.default_rng(0)
    texts = [f"image {number}" for number in draw.integers(0, 300, 1000)]
    keys = numpy.frombuffer(b"".join(map(key_of, texts)), "u8").reshape(-1, 2)
    links = linked(keys, Scratch(tmp_path), "images", most)
    rows = {}
    for row, text in enumerate(texts):
        rows.setdefault(text, []).append(row)
    assert links.first.tolist() == [rows[text][0] for text in texts]
    assert all(links.rows_of(own[0]) == own for own in rows.values())


def test_keys_that_differ_in_their_second_half_differ(tmp_path):
    keys = numpy.array([[5, 1], [5, 2], [5, 1]], dtype="u8")
    assert linked(keys, Scratch(tmp_path), "images").first.tolist() == [0, 1, 0]


def test_nothing_has_no_links(tmp_path):
    assert linked(numpy.zeros((0, 2), "u8"), Scratch(tmp_path), "images").first.tolist() == []
