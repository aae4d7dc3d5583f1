"""The listings of a source, written down row by row, with the place of each image's first one."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy
from numpy.typing import NDArray

from pairstill.core.errors import DataError, shown
from pairstill.core.schema import SPLITS, Split
from pairstill.data.checks import clean_path
from pairstill.data.keys import Links, Scratch, blocks, key_of, linked
from pairstill.data.rows import Rows
from pairstill.data.sources.raw import RawPair, RawPairs
from pairstill.storage.columns import BATCH_ROWS, Columns, writing_columns

NO_SPLIT = len(SPLITS)
"""The number of what is no split."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One listing whose image is a path below the root.

    Attributes:
        row: its number.
        image: the path in its shortest form.
        name: what it and its image are called in messages.
        captions: as they are written.
        split: as it is written.
    """

    row: int
    image: str
    name: str
    captions: list[str]
    split: str


@dataclass(frozen=True)
class Listings:
    """What can be checked of the listings: those whose image is a path below the root.

    Attributes:
        columns: the image's path in its shortest form, the path as it is written if that is another, the captions, the
            split, and the place in the source, of each listing.
        splits: the number of each listing's split in `SPLITS`, or `NO_SPLIT`.
        links: which listings are of the same image.
        firsts: the first listing of each image.
        problems: what is wrong with other ones.
    """

    columns: Columns
    splits: NDArray[numpy.uint8]
    links: Links
    firsts: NDArray[numpy.int64]
    problems: list[str] = field(repr=False)

    @property
    def images(self) -> Rows[str]:
        """The path of each image."""
        return Rows(len(self.firsts), lambda places: self.columns.take("image", self.firsts[places]))

    @property
    def split_names(self) -> set[Split]:
        """The splits that they name."""
        return {SPLITS[number] for number in numpy.unique(self.splits) if number != NO_SPLIT}

    def by_image(self) -> Iterator[tuple[int, list[Listing]]]:
        """Yield the number of each image with its listings, in the order of its first listing that names a split."""
        begun = self._begun()
        while some := list(islice(begun, BATCH_ROWS)):
            # together: where the listings of an image lie far apart, each would have a batch of the file read for it
            rows = sorted(other for _, own in some for other in own)
            values = dict(zip(rows, self.columns.take_rows(rows, *_SCHEMA), strict=True))
            for number, own in some:
                yield number, [_listing(other, *values[other]) for other in own]

    def _begun(self) -> Iterator[tuple[int, list[int]]]:
        """Yield the number of each image with the rows of its listings, in the same order."""
        late: dict[int, tuple[int, list[int]]] = {}
        image = -1
        for row in range(len(self.columns)):
            if self.links.first[row] == row:
                image += 1
                rows = self.links.rows_of(row)
                begin = next((other for other in rows if self.splits[other] != NO_SPLIT), row)
                if begin == row:
                    yield image, rows
                else:
                    late[begin] = image, rows
            elif row in late:
                yield late.pop(row)


def _listing(row: int, image: str, written: str, captions: list[str], split: str, where: str) -> Listing:
    return Listing(row, image, f"{where}: image {shown(written or image)}", captions, split)


_SCHEMA = {"image": "text", "written": "text", "captions": "texts", "split": "text", "where": "text"}
_NUMBERS = {split: number for number, split in enumerate(SPLITS)}


def listed(raw: RawPairs, scratch: Scratch) -> Listings:
    """Write the listings down; nothing is checked but the form of paths."""
    path, unreadable, unclean = scratch.folder / "listings.arrow", list[str](), list[str]()
    added = writing_columns(path, _SCHEMA), scratch.appending("keys"), scratch.appending("splits")
    with added[0] as add, added[1] as add_key, added[2] as add_split:
        for pair in raw.listings:
            if not isinstance(pair, RawPair):
                unreadable.append(pair)
                continue
            try:
                image = clean_path(pair.image)
            except DataError as error:
                unclean.append(f"{pair.where}: image {shown(pair.image)} {error}")
                continue
            add(image, "" if pair.image == image else pair.image, pair.captions, pair.split, pair.where)
            add_key(key_of(image))
            add_split(bytes((_NUMBERS.get(pair.split, NO_SPLIT),)))
    links = linked(scratch.written("keys", numpy.uint64).reshape(-1, 2), scratch, "images")
    return Listings(
        Columns(path),
        scratch.written("splits", numpy.uint8),
        links,
        _firsts(links, scratch),
        [*unreadable, *unclean],
    )


def _firsts(links: Links, scratch: Scratch) -> NDArray[numpy.int64]:
    with scratch.appending("firsts") as add:
        for some in blocks(len(links.first)):
            rows = numpy.arange(some.start, some.stop)
            add(rows[links.first[some] == rows].tobytes())
    return scratch.written("firsts", numpy.int64)
