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
NAMES = tuple(record.image for record in RECORDS)


def with_record(place, **changes):
    records = list(RECORDS)
    records[place] = replace(records[place], **changes)
    return records


@pytest.fixture
def described(tmp_path):
    """Describe records with the digests of their images."""

    def describe(records, digests=NAMES):
        return describe_data(Manifest.of_records(tmp_path / "pairs.arrow", "table", Path(), records, digests))

    return describe


@pytest.mark.parametrize(
    ("now", "digests", "said"),
    [
        (RECORDS, NAMES, ""),
        (with_record(1, captions=("train 1", "new")), NAMES, " (train: 3 captions before, 4 now)"),
        (with_record(4, captions=("new",)), NAMES, " (test: other captions, or the same in another order)"),
        (with_record(3, image="new.png"), NAMES, " (val: other names of files)"),
        (with_record(2, split="val"), NAMES, " (train: 3 images before, 2 now, 3 captions before, 2 now; "
         "val: 1 images before, 2 now, 1 captions before, 2 now)"),
        (RECORDS, ("new", *NAMES[1:]), " (train: other images, or the same in another order)"),
    ],
)  # fmt: skip
def test_what_changed_in_the_data_is_told_by_split(described, now, digests, said):
    assert what_changed(described(RECORDS), described(now, digests)) == said


def test_of_data_that_older_versions_described_the_numbers_are_compared(described):
    old = {name: value for name, value in described(RECORDS).items() if name != "parts"}
    assert what_changed(old, described(with_record(4, captions=("new",)))) == ""
    assert what_changed({}, described(RECORDS)) == ""
    assert "val: 1 images before, 2 now" in what_changed(old, described(with_record(2, split="val")))
