"""Listings are written down as they come: what is in memory hardly grows with their number."""

import tracemalloc
from pathlib import Path

import numpy

from pairstill.data.keys import Scratch
from pairstill.data.listings import listed
from pairstill.data.sources.raw import Lazily, RawPair, RawPairs


def pairs(*given):
    return RawPairs(Path(), [one if isinstance(one, str) else RawPair(*one) for one in given])


def test_listings_of_an_image_stand_together_in_the_order_of_the_first_that_names_a_split(tmp_path):
    raw = pairs(
        ("a.png", ("one",), "training", "line 1"),
        ("b.png", ("two",), "val", "line 2"),
        ("./a.png", ("three", "four"), "train", "line 3"),
        "line 4: bad",
        ("/c.png", ("five",), "train", "line 5"),
        ("b.png", ("six",), "val", "line 6"),
    )
    found = listed(raw, Scratch(tmp_path))
    assert list(found.images) == ["a.png", "b.png"] and found.split_names == {"train", "val"}
    assert [(number, [listing.captions for listing in own]) for number, own in found.by_image()] == [
        (1, [["two"], ["six"]]),
        (0, [["one"], ["three", "four"]]),
    ]
    names = {listing.name for _, own in found.by_image() for listing in own}
    assert "line 3: image './a.png'" in names and "line 1: image 'a.png'" in names
    assert found.problems[0] == "line 4: bad" and found.problems[1].startswith("line 5: image '/c.png' leaves")


def test_listings_that_lie_far_apart_are_read_together(tmp_path, monkeypatch):
    for module in ("storage.columns", "data.listings"):
        monkeypatch.setattr(f"pairstill.{module}.BATCH_ROWS", 8)
    order = [(7 * number) % 400 for number in range(400)]  # five captions of each image, 57 rows apart
    rows = [(f"{number // 5}.png", (f"caption {number}",), "train", f"line {number}") for number in order]
    found = listed(pairs(*rows), Scratch(tmp_path))
    expected = {}
    for image, captions, *_ in rows:
        expected.setdefault(image, []).append(list(captions))
    assert [(own[0].image, [one.captions for one in own]) for _, own in found.by_image()] == list(expected.items())
    assert found.columns._batch.cache_info().misses <= 10 * 50, "ten times eight images, 50 batches"


def test_no_listings(tmp_path):
    found = listed(pairs(), Scratch(tmp_path))
    assert list(found.by_image()) == [] and list(found.images) == []


def test_memory_is_not_that_of_the_listings(tmp_path):
    def many():
        for number in range(20_000):
            yield RawPair(f"folder/{number:07d}.jpg", (f"a caption that nobody else has, {number}",), "train", "line 1")

    (tmp_path / "few").mkdir()
    listed(pairs(("a.png", ("one",), "train", "line 1")), Scratch(tmp_path / "few"))  # which imports all
    tracemalloc.start()
    found = listed(RawPairs(Path(), Lazily(many)), Scratch(tmp_path))
    images = sum(len(own) for _, own in found.by_image())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert images == 20_000 and numpy.array_equal(found.firsts, numpy.arange(20_000))
    assert peak < 300 * 20_000, "as objects of Python they would take 700 bytes each"
