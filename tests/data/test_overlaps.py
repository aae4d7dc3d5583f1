"""What splits have in common is what sets of Python count."""

import numpy
import pytest

from pairstill.core.schema import SPLITS
from pairstill.data.manifest import COLUMNS
from pairstill.data.overlaps import overlaps_of
from pairstill.storage.columns import Columns, writing_columns


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_sets(tmp_path, seed):
    draw = numpy.random.default_rng(seed)
    splits, pixels = draw.integers(0, 3, 200).astype(numpy.uint8), draw.integers(0, 150, 200).astype(numpy.uint64)
    captions = [[f"words {word}" for word in draw.integers(0, 400, draw.integers(1, 4))] for _ in range(200)]
    with writing_columns(tmp_path / "a.arrow", COLUMNS) as add:
        for split, texts in zip(splits, captions, strict=True):
            add("", "", SPLITS[split], texts)
    found = overlaps_of(Columns(tmp_path / "a.arrow"), splits, pixels)

    def of(number):
        return [texts for texts, split in zip(captions, splits, strict=True) if split == number]

    train = {text for texts in of(0) for text in texts}
    assert found.val_captions == sum(text in train for texts in of(1) for text in texts) > 0
    assert found.test_captions == sum(text in train for texts in of(2) for text in texts) > 0
    others = [{text for other in of(2) if other is not texts for text in other} for texts in of(2)]
    shared = sum(text in other for texts, other in zip(of(2), others, strict=True) for text in texts)
    assert found.equal_test_captions == shared > 0
    earlier = [set(pixels[splits < number].tolist()) for number in (1, 2)]
    known = [sum(int(p) in seen for p in pixels[splits == n]) for n, seen in zip((1, 2), earlier, strict=True)]
    assert found.pictures == sum(known) > 0
