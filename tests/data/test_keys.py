"""Equal rows are found by their keys, however few of them may be in memory."""

import resource

import numpy
import pytest

from pairstill.core.errors import StorageError
from pairstill.data.keys import Scratch, key_of, linked
from pairstill.storage.columns import BATCH_ROWS, writing_columns


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


def test_a_disk_that_is_full_is_an_error_that_names_the_file(tmp_path):
    scratch = Scratch(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(StorageError, match="seen cannot be written"):
            scratch.array("seen", "u8", 10_000)
        with pytest.raises(StorageError, match="keys cannot be written"), scratch.appending("keys") as add:
            add(b"x" * 100_000)
        with pytest.raises(StorageError, match=r"rows\.arrow cannot be written"):
            with writing_columns(tmp_path / "rows.arrow", {"name": "text"}) as add:
                for number in range(BATCH_ROWS):
                    add(f"row {number}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_appended_is_read_back(tmp_path):
    scratch = Scratch(tmp_path)
    with scratch.appending("numbers") as add:
        for number in range(5):
            add(number.to_bytes(8, "little"))
    assert scratch.written("numbers", "<i8").tolist() == [0, 1, 2, 3, 4]
    with scratch.appending("none"):
        pass
    assert scratch.written("none", "<i8").tolist() == []
