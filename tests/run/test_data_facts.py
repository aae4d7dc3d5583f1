from dataclasses import replace
from pathlib import Path

import pytest

from pairstill.core.schema import ImageRecord
from pairstill.data.manifest import Manifest
from pairstill.run.data_facts import describe_data, what_changed

RECORDS = tuple(
    ImageRecord(f"{split}{number}.png", (f"{split} {number}",), split)
    for split, count in (("train", 3), ("val", 1), ("test", 2))
    for number in range(count)
)
BEFORE = Manifest("table", Path(), RECORDS, tuple(record.image for record in RECORDS))


def with_record(place, **changes):
    records = list(RECORDS)
    records[place] = replace(records[place], **changes)
    return replace(BEFORE, records=tuple(records))


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (BEFORE, ""),
        (with_record(1, captions=("train 1", "new")), " (train: 3 captions before, 4 now)"),
        (with_record(4, captions=("new",)), " (test: other captions, or the same in another order)"),
        (with_record(3, image="new.png"), " (val: other names of files)"),
        (with_record(2, split="val"), " (train: 3 images before, 2 now, 3 captions before, 2 now; "
         "val: 1 images before, 2 now, 1 captions before, 2 now)"),
        (replace(BEFORE, image_digests=("new", *BEFORE.image_digests[1:])),
         " (train: other images, or the same in another order)"),
    ],
)  # fmt: skip
def test_what_changed_in_the_data_is_told_by_split(now, said):
    assert what_changed(describe_data(BEFORE), describe_data(now)) == said


def test_of_data_that_older_versions_described_the_numbers_are_compared():
    old = {name: value for name, value in describe_data(BEFORE).items() if name != "parts"}
    assert what_changed(old, describe_data(with_record(4, captions=("new",)))) == ""
    assert what_changed({}, describe_data(BEFORE)) == ""
    assert "val: 1 images before, 2 now" in what_changed(old, describe_data(with_record(2, split="val")))
