"""What splits have in common: captions word for word, and pictures pixel for pixel."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pairstill.core.formatting import counted
from pairstill.core.schema import SPLITS, Split
from pairstill.data.division import Kept


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


def overlaps_of(images: Sequence[Kept]) -> Overlaps:
    """Return what the splits have in common."""
    captions = {split: [i.record.captions for i in images if i.record.split == split] for split in SPLITS}
    known = {caption for own in captions["train"] for caption in own}
    return Overlaps(
        pictures=_pictures(images),
        val_captions=_within(captions["val"], known),
        test_captions=_within(captions["test"], known),
        equal_test_captions=_shared(captions["test"]),
    )


def _within(captions: Iterable[Sequence[str]], known: set[str]) -> int:
    return sum(caption in known for own in captions for caption in own)


def _shared(captions: Sequence[Sequence[str]]) -> int:
    """Return how many captions stand at another image, too."""
    images: dict[str, int] = {}
    for own in captions:
        for caption in set(own):
            images[caption] = images.get(caption, 0) + 1
    return sum(images[caption] > 1 for own in captions for caption in own)


def _pictures(images: Sequence[Kept]) -> int:
    """Return how many images are, by another file, in an earlier split."""
    found, earlier = 0, set[str]()
    for split in SPLITS:
        here = [image.pixels for image in images if image.record.split == split and image.pixels]
        found += sum(pixels in earlier for pixels in here)
        earlier.update(here)
    return found
