"""What splits have in common: captions word for word, and pictures pixel for pixel."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy
from numpy.typing import NDArray

from pairstill.core.formatting import counted
from pairstill.core.schema import Split
from pairstill.data.keys import blocks
from pairstill.storage.columns import Columns


@dataclass(frozen=True)
class Overlaps:
    """What makes recall easier, or harder, than the captions and pictures alone would.

    Attributes:
        pictures: images of val and test whose picture, pixel for pixel, is also in another file of an earlier split.
        val_captions: captions of val that train has as well, word for word as they are encoded.
        test_captions: captions of test that train has as well.
        equal_test_captions: captions of test that another image of test has as well.
    """

    pictures: int
    val_captions: int
    test_captions: int
    equal_test_captions: int

    def warnings(self, captions: dict[Split, int]) -> list[str]:
        """Return what a user must know before a long run, a sentence each.

        Args:
            captions: how many captions each split has.
        """
        found = []
        if self.pictures:
            found.append(
                f"{counted(self.pictures, 'image')} of val and test show the same picture, pixel for pixel, as another "
                "file of an earlier split: recall on them is partly memory. Leave one of each out"
            )
        shares: list[tuple[Split, int]] = [("val", self.val_captions), ("test", self.test_captions)]
        parts = [f"{count:,} of the {captions[split]:,} of {split}" for split, count in shares if count]
        if parts:
            found.append(f"Captions that train has word for word as well: {' and '.join(parts)}")
        return found


def overlaps_of(columns: Columns, splits: NDArray[numpy.uint8], pixels: NDArray[numpy.uint64]) -> Overlaps:
    """Return what the splits have in common.

    Digests of the captions and pictures of val and test are in memory; those of train are gone through.

    Args:
        columns: the captions of each image.
        splits: the number of its split in `SPLITS`, (images,).
        pixels: the digest of its picture, (images,).
    """
    val, test = (_joined(_captions(columns, splits, number)) for number in (1, 2))
    others = [numpy.unique(captions.digests) for captions in (val, test)]
    common: list[set[int]] = [set(), set()]
    for train in _captions(columns, splits, 0):
        for known, own in zip(common, others, strict=True):
            known.update(train.digests[_among(train.digests, own)].tolist())
    in_train = [numpy.sort(numpy.array(list(known), numpy.uint64)) for known in common]
    return Overlaps(
        pictures=_pictures(splits, pixels),
        val_captions=int(_among(val.digests, in_train[0]).sum()),
        test_captions=int(_among(test.digests, in_train[1]).sum()),
        equal_test_captions=_shared(test),
    )


@dataclass(frozen=True)
class _Captions:
    """Digests of captions, and the image of each."""

    digests: NDArray[numpy.uint64]
    images: NDArray[numpy.int64]


def _captions(columns: Columns, splits: NDArray[numpy.uint8], number: int) -> Iterator[_Captions]:
    """Yield the captions of a split, some thousands at a time."""
    start = 0
    for (batch,) in columns.batches("captions"):
        here = numpy.flatnonzero(splits[start : start + len(batch)] == number)
        own = [batch[place] for place in here]
        digests = b"".join(blake2b(text.encode(), digest_size=8).digest() for texts in own for text in texts)
        yield _Captions(numpy.frombuffer(digests, numpy.uint64), numpy.repeat(here + start, list(map(len, own))))
        start += len(batch)


def _joined(parts: Iterable[_Captions]) -> _Captions:
    parts = [*parts, _Captions(numpy.zeros(0, numpy.uint64), numpy.zeros(0, numpy.int64))]
    digests, images = [part.digests for part in parts], [part.images for part in parts]
    return _Captions(numpy.concatenate(digests), numpy.concatenate(images))


def _among(values: NDArray[numpy.uint64], others: NDArray[numpy.uint64]) -> NDArray[numpy.bool]:
    """Return which values are among others, which are sorted."""
    if not len(others):
        return numpy.zeros(len(values), bool)
    places = numpy.searchsorted(others, values)
    return others[numpy.minimum(places, len(others) - 1)] == values


def _shared(captions: _Captions) -> int:
    """Return how many captions stand at another image, too."""
    order = numpy.lexsort((captions.images, captions.digests))
    digests, images = captions.digests[order], captions.images[order]
    another = (digests[1:] == digests[:-1]) & (images[1:] != images[:-1])
    return int(_among(digests, numpy.unique(digests[1:][another])).sum())


def _pictures(splits: NDArray[numpy.uint8], pixels: NDArray[numpy.uint64]) -> int:
    """Return how many images are, by another file, in an earlier split."""
    val, test = (pixels[splits == number] for number in (1, 2))
    sought, earlier = numpy.unique(numpy.concatenate([val, test])), set[int]()
    for some in blocks(len(splits)):
        train = pixels[some][splits[some] == 0]
        earlier.update(train[_among(train, sought)].tolist())
    in_train = numpy.sort(numpy.array(list(earlier), numpy.uint64))
    found = _among(val, in_train), _among(test, in_train) | _among(test, numpy.unique(val))
    return sum(int(some.sum()) for some in found)
