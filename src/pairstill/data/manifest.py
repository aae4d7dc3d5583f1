"""The manifest: every real pair of a run, checked, in columns, with a fingerprint of the data."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from pairstill.core.errors import ArtifactError
from pairstill.core.schema import SPLITS, ImageRecord, Split
from pairstill.data.overlaps import Overlaps
from pairstill.data.rows import Rows
from pairstill.storage import Digest, digest_all
from pairstill.storage.columns import Columns, writing_columns
from pairstill.storage.files import write_atomic

_FORMAT = "pairstill-manifest-2"
COLUMNS = {"image": "text", "sha256": "text", "split": "text", "captions": "texts"}
"""What is kept of each image that may be used."""


@dataclass(frozen=True)
class _States:
    """Digests of a split: of its image paths, image contents and captions, and of the last two together."""

    names: Digest = field(default_factory=Digest)
    images: Digest = field(default_factory=Digest)
    captions: Digest = field(default_factory=Digest)
    pairs: Digest = field(default_factory=Digest)


@dataclass(frozen=True)
class Manifest:
    """The checked pairs of a run, in columns on the disk: however many there are, few are in memory.

    Attributes:
        source: name of the source that the pairs came from.
        image_root: absolute folder that the records' image paths start from.
        columns: the path of each image, the SHA-256 of its file, its split and its captions, in the source's order;
            every image stands once. The digest of one that is turned or laid on a background is of that too
            (`ImageCheck.digest`).
        dropped: what was left out, and why; empty unless `data.on_bad_pair` is `drop`.
        background: what shows through transparent pixels, as `data.background` has it.
        division: how images were divided among the splits, if the data did not say it.
        notes: what else must be said of how the pairs were read, a sentence each.
        overlaps: what splits have in common; nothing is known of a manifest that was read from a file.
        fingerprint: SHA-256 over image paths, image contents, captions and splits, in order; the image root plays no
            part.
    """

    source: str
    image_root: Path
    columns: Columns = field(compare=False, repr=False)
    dropped: tuple[str, ...] = ()
    background: str = "white"
    division: str | None = None
    notes: tuple[str, ...] = ()
    overlaps: Overlaps | None = field(default=None, compare=False)
    fingerprint: str = ""

    def __getstate__(self) -> dict[str, Any]:
        """Send other ranks where the columns are, and nothing of what each finds out from them."""
        return {own.name: getattr(self, own.name) for own in fields(self)}

    @classmethod
    def of_records(
        cls, path: Path, source: str, image_root: Path, records: Iterable[ImageRecord], digests: Iterable[str]
    ) -> "Manifest":
        """Return a manifest of records, whose columns are written to a file.

        Args:
            path: the file.
            source: where they come from.
            image_root: the folder that their paths start from.
            records: the images with their captions.
            digests: SHA-256 of each one's file.
        """
        with writing_columns(path, COLUMNS) as add:
            for record, content in zip(records, digests, strict=True):
                add(record.image, content, record.split, record.captions)
        columns = Columns(path)
        return cls(source, image_root, columns, fingerprint=fingerprint_of(columns))

    @property
    def records(self) -> Rows[ImageRecord]:
        """The images with their captions."""
        return self._records(None)

    def split(self, name: Split) -> Rows[ImageRecord]:
        """Return the records of one split, in order."""
        return self._records(name)

    def _records(self, name: Split | None) -> Rows[ImageRecord]:
        rows = self._rows(name)

        def read(places: NDArray[numpy.int64]) -> list[ImageRecord]:
            images, splits, captions = (
                self.columns.take(column, rows[places]) for column in ("image", "split", "captions")
            )
            return [
                ImageRecord(image, tuple(texts), split)
                for image, split, texts in zip(images, splits, captions, strict=True)
            ]

        return Rows(len(rows), read)

    def image_paths(self, name: Split) -> Rows[Path]:
        """Return the absolute image paths of one split, in order."""
        rows, root = self._rows(name), self.image_root
        return Rows(len(rows), lambda places: [root / image for image in self.columns.take("image", rows[places])])

    @property
    def image_digests(self) -> Rows[str]:
        """The SHA-256 of each record's image file, in the order of `records`."""
        return self._digests(None)

    def digests(self, name: Split) -> Rows[str]:
        """Return the SHA-256 of each image file of one split, in order."""
        return self._digests(name)

    def _digests(self, name: Split | None) -> Rows[str]:
        rows = self._rows(name)
        return Rows(len(rows), lambda places: self.columns.take("sha256", rows[places]))

    def captions(self, name: Split) -> Rows[str]:
        """Return all captions of one split, image after image."""
        rows, starts = self._rows(name), self._starts(name)

        def read(places: NDArray[numpy.int64]) -> list[str]:
            owners = numpy.searchsorted(starts, places, side="right") - 1
            images, which = numpy.unique(owners, return_inverse=True)
            texts = self.columns.take("captions", rows[images])
            return [texts[at][place] for at, place in zip(which, (places - starts[owners]).tolist(), strict=True)]

        return Rows(int(starts[-1]), read)

    def caption_owner(self, name: Split) -> NDArray[numpy.int64]:
        """Return, for each of `captions(name)`, the index in `split(name)` of the image it belongs to, (captions,)."""
        counts = numpy.diff(self._starts(name))
        return numpy.repeat(numpy.arange(len(counts)), counts)

    @cached_property
    def _numbers(self) -> tuple[NDArray[numpy.uint8], NDArray[numpy.int32]]:
        """The number of each image's split, and of its captions."""
        splits, counts = bytearray(), [numpy.zeros(0, numpy.int32)]
        for names, captions in self.columns.batches("split", "captions"):
            splits += bytes(map(SPLITS.index, names))
            counts.append(numpy.fromiter(map(len, captions), numpy.int32, len(captions)))
        return numpy.frombuffer(bytes(splits), numpy.uint8), numpy.concatenate(counts)

    def _rows(self, name: Split | None) -> NDArray[numpy.int64]:
        """Return the rows of the images of a split, or of all."""
        splits, _ = self._numbers
        return numpy.arange(len(splits)) if name is None else numpy.flatnonzero(splits == SPLITS.index(name))

    def _starts(self, name: Split) -> NDArray[numpy.int64]:
        """Return the number of each image's first caption, among those of the split, and how many there are."""
        splits, counts = self._numbers
        return numpy.concatenate([[0], numpy.cumsum(counts[splits == SPLITS.index(name)], dtype=numpy.int64)])

    def counts(self) -> dict[Split, int]:
        """Return how many images each split has."""
        numbers = numpy.bincount(self._numbers[0], minlength=len(SPLITS))
        return {split: int(number) for split, number in zip(SPLITS, numbers, strict=True)}

    @property
    def about(self) -> dict[str, Any]:
        """How the pairs came to be, as JSON values."""
        overlaps = None if self.overlaps is None else asdict(self.overlaps)
        return {"division": self.division, "notes": list(self.notes), "overlaps": overlaps}

    @property
    def warnings(self) -> list[str]:
        """What a user must know before a long run, a sentence each."""
        if self.overlaps is None or self.source == "scenes":  # scenes are worded by rules, and repeat by design
            return list(self.notes)
        return [*self.notes, *self.overlaps.warnings({split: len(self.captions(split)) for split in SPLITS})]

    def split_fingerprint(self, name: Split) -> str:
        """SHA-256 over the image contents and captions of one split, in order; file names play no part."""
        return self._states[name].pairs.hex()

    def parts(self, name: Split) -> dict[str, str]:
        """SHA-256 over the image paths, over the image contents and over the captions of one split, each in order."""
        state = self._states[name]
        return {"names": state.names.hex(), "images": state.images.hex(), "captions": state.captions.hex()}

    @cached_property
    def _states(self) -> dict[Split, "_States"]:
        """The digests of each split, all from going through the pairs once."""
        states: dict[Split, _States] = {split: _States() for split in SPLITS}
        for image, content, split, captions in self.columns.rows(*COLUMNS):
            state, words = states[split], (str(len(captions)), *captions)
            state.names.add(image)
            state.images.add(content)
            state.captions.add(*words)
            state.pairs.add(content, *words)
        return states

    def save(self, path: Path) -> None:
        """Write the manifest as a file of Arrow, atomically."""
        about = {
            "format": _FORMAT,
            "source": self.source,
            "image_root": str(self.image_root),
            "fingerprint": self.fingerprint,
            "dropped": json.dumps(self.dropped),
            "background": self.background,
            "notes": json.dumps(self.notes),
        }

        def write(temporary: Path) -> None:
            with writing_columns(temporary, COLUMNS, about) as add:
                for row in self.columns.rows(*COLUMNS):
                    add(*row)

        write_atomic(path, write)

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Return the manifest that `save` wrote.

        Raises:
            ArtifactError: the file is missing, of another format, damaged or edited.
        """
        columns = Columns(path)
        about = columns.metadata
        if about.get("format") != _FORMAT:
            raise ArtifactError(
                f"{path} has format {about.get('format')!r}; this version reads {_FORMAT!r}. Build the manifest again"
            )
        try:
            manifest = _loaded(columns, about)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{path} is damaged ({error!r}); delete it and build the manifest again") from error
        if manifest.fingerprint != about.get("fingerprint"):
            raise ArtifactError(
                f"{path} was changed after it was written: its fingerprint is {about.get('fingerprint')}, its "
                f"content gives {manifest.fingerprint}. Delete it and build the manifest again"
            )
        return manifest


def fingerprint_of(columns: Columns) -> str:
    """Return the fingerprint of the pairs in columns; see `Manifest`."""
    return digest_all(
        part
        for image, content, split, captions in columns.rows(*COLUMNS)
        for part in (image, content, split, str(len(captions)), *captions)
    )


def _loaded(columns: Columns, about: Mapping[str, str]) -> Manifest:
    if columns.schema != COLUMNS:
        raise ValueError(f"its columns are {columns.schema}")
    for image, content, split, captions in columns.rows(*COLUMNS):
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
        if None in (image, content, captions, *(captions or ())):
            raise ValueError("a value is missing")
    return Manifest(
        source=about["source"],
        image_root=Path(about["image_root"]),
        columns=columns,
        dropped=tuple(json.loads(about["dropped"])),
        background=about["background"],
        notes=tuple(json.loads(about["notes"])),
        fingerprint=fingerprint_of(columns),
    )
