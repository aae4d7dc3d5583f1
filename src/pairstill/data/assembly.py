"""Listings put together into records, image by image, with every bad pair told by its place."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy
from numpy.typing import NDArray

from pairstill.config import DataConfig
from pairstill.core.errors import shown
from pairstill.core.schema import SPLITS
from pairstill.data.captions import MAX_CAPTION_CHARACTERS, caption_as, stands_for_nothing
from pairstill.data.checks import Checking, ImageCheck, check_images
from pairstill.data.keys import Links, Scratch, blocks, linked
from pairstill.data.listings import Listing, Listings
from pairstill.data.manifest import COLUMNS
from pairstill.events import Emit
from pairstill.storage.columns import Columns, writing_columns

_SEEN = numpy.dtype([("digest", "<u8", 4), ("pixels", "<u8")])


@dataclass(frozen=True)
class Kept:
    """The images that may be used, in the order in which they were met.

    Attributes:
        columns: as of a `Manifest`.
        splits: the number of each one's split in `SPLITS`, (images,).
        digests: of their files, (images, 4).
        pixels: digests of their pictures, which copies share, (images,).
    """

    columns: Columns
    splits: NDArray[numpy.uint8]
    digests: NDArray[numpy.uint64]
    pixels: NDArray[numpy.uint64]


@dataclass
class Assembly:
    """Good captions by image, and the problems, while listings are gone through in order.

    Attributes:
        config: the data settings.
        scratch: holds whatever there is one of for each pair.
        problems: what is wrong, once all are gone through: what could not be read first, then in the listings' order.
    """

    config: DataConfig
    scratch: Scratch
    problems: list[str] = field(default_factory=list)
    _found: list[tuple[int, str]] = field(default_factory=list)
    _bad: dict[int, ImageCheck] = field(default_factory=dict)
    _missing: int = 0
    _other_splits: Counter[str] = field(default_factory=Counter)

    def add_all(self, listings: Listings, root: Path, checking: Checking, emit: Emit) -> Kept:
        """Go through all listings; images are checked once each, beforehand."""
        seen = self._seen(check_images(root, listings.images, checking, emit), len(listings.firsts))
        kept = self._kept(listings, seen)
        # what is found of one listing stays in the order in which it was found
        self.problems += [*listings.problems, *(text for _, text in sorted(self._found, key=lambda found: found[0]))]
        return kept

    def common_causes(self, usable: int) -> list[str]:
        """Return what is wrong with more pairs than there are usable images: no matter of single pairs."""
        causes = []
        if self._missing > usable:
            causes.append(
                f"{self._missing} images are not where they are looked for: set data.images, which is "
                f"{self.config.images!r}, to their folder below data.root."
            )
        if self._other_splits.total() > usable:
            values = ", ".join(f"{value} ({count} times)" for value, count in self._other_splits.most_common(5))
            causes.append(f"The splits are called {values}: call them {', '.join(SPLITS)}.")
        return causes

    def _seen(self, checks: Iterator[ImageCheck], count: int) -> NDArray[numpy.void]:
        """Return what was seen in each image; zeros in those that are bad."""
        seen = self.scratch.array("seen", _SEEN, count)
        for image, check in enumerate(checks):
            if check.problem is None:
                seen[image] = numpy.frombuffer(bytes.fromhex(check.digest), "<u8"), int(check.pixels, 16)
            else:
                self._bad[image] = check
        return seen

    def _kept(self, listings: Listings, seen: NDArray[numpy.void]) -> Kept:
        holders = _Holders(linked(seen["digest"], self.scratch, "contents"), listings, self.scratch)
        path = self.scratch.folder / "kept.arrow"
        added = writing_columns(path, COLUMNS), self.scratch.appending("numbers"), self.scratch.appending("kept")
        with added[0] as add, added[1] as add_number, added[2] as add_split:
            for image, own in listings.by_image():
                if captions := self._good_captions(image, own, holders):
                    split = next(listing.split for listing in own if listing.split in SPLITS)
                    add(own[0].image, seen["digest"][image].tobytes().hex(), split, captions)
                    add_number(image.to_bytes(8, "little"))
                    add_split(bytes((SPLITS.index(split),)))
        return self._gathered(Columns(path), self.scratch.written("numbers", "<i8"), seen)

    def _gathered(self, columns: Columns, numbers: NDArray[numpy.int64], seen: NDArray[numpy.void]) -> Kept:
        digests = self.scratch.array("digests", "<u8", len(numbers), 4)
        pixels = self.scratch.array("pixels", "<u8", len(numbers))
        for some in blocks(len(numbers)):
            own = seen[numbers[some]]
            digests[some], pixels[some] = own["digest"], own["pixels"]
        return Kept(columns, self.scratch.written("kept", numpy.uint8), digests, pixels)

    def _good_captions(self, image: int, own: Sequence[Listing], holders: "_Holders") -> list[str]:
        """Return the captions of an image, out of those of its listings that are as they must be."""
        bad, split, captions = self._bad.get(image), None, list[str]()
        for listing in own:
            if bad is not None:
                self._problem(listing, f"{bad.problem}")
                self._missing += bad.missing
            elif listing.split not in SPLITS:
                text = shown(listing.split)
                self._problem(listing, f"has split {text}; it must be one of {', '.join(SPLITS)}")
                self._other_splits[text] += 1
            elif listing.split != (split := split or listing.split):
                self._problem(listing, f"is in split '{listing.split}' but also in '{split}'")
            elif (other := holders.other(image, listing)) is not None:
                # Most sources name an image by its file; what is learned from it cannot be told by another name.
                also = f"with the same content as {shown(other.image)}"
                self._problem(listing, f"is in split '{split}' but also, {also}, in '{other.split}'")
            else:
                captions += self._good_of(listing, frozenset(captions))
        return captions

    def _good_of(self, listing: Listing, known: frozenset[str]) -> list[str]:
        good = []
        for text in listing.captions:
            if len(text) > MAX_CAPTION_CHARACTERS:
                of = f"{len(text)} characters, more than {MAX_CAPTION_CHARACTERS}"
                self._problem(listing, f"has a caption of {of}: {shown(text)}")
                continue
            caption = caption_as(self.config.captions, text)
            if not caption.strip():
                self._problem(listing, f"has the empty caption {shown(text)}")
            elif stands_for_nothing(text):
                self._problem(listing, f"has the caption {shown(text)}, which stands for a missing one")
            elif caption in known:
                self._problem(listing, f"is listed twice with caption {shown(caption)}")
            else:
                good.append(caption)
        return good

    def _problem(self, listing: Listing, what: str) -> None:
        self._found.append((listing.row, f"{listing.name} {what}"))


@dataclass(frozen=True)
class _Place:
    """Where a content was first met: the image's path, and its split."""

    image: str
    split: str


class _Holders:
    """The first image of each content, and so the split that the content is in."""

    def __init__(self, contents: Links, listings: Listings, scratch: Scratch) -> None:
        self._contents, self._listings = contents, listings
        self._rows = scratch.array("holders", numpy.int64, len(contents.first))  # of listings, from 1

    def other(self, image: int, listing: Listing) -> _Place | None:
        """Return where the content of an image was met in another split; None if it was not."""
        content = self._contents.first[image]
        if content == image and self._contents.following[image] < 0:
            return None  # no other image has it
        if not self._rows[content]:
            self._rows[content] = listing.row + 1
        path, split = self._listings.columns.row(int(self._rows[content]) - 1, "image", "split")
        return None if split == listing.split else _Place(path, split)
