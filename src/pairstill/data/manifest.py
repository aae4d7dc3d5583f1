"""The manifest: every real pair of a run, checked before any work, with a fingerprint of the data."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pairstill.config import DataConfig
from pairstill.core.errors import ArtifactError, DataError, list_problems, shown
from pairstill.core.schema import SPLITS, ImageRecord, Split
from pairstill.data.captions import MAX_CAPTION_CHARACTERS, caption_as, stands_for_nothing
from pairstill.data.checks import Checking, ImageCheck, check_images, clean_path
from pairstill.data.sources import read_source
from pairstill.data.sources.raw import RawPair, RawPairs
from pairstill.events import Emit, silent
from pairstill.storage import digest, read_json, write_json

_FORMAT = "pairstill-manifest-1"


@dataclass(frozen=True)
class Manifest:
    """The checked pairs of a run.

    Attributes:
        source: name of the source that the pairs came from.
        image_root: absolute folder that the records' image paths start from.
        records: the images with their captions, in the source's order; every image stands once.
        image_digests: SHA-256 of each record's image file, in the order of `records`.
        dropped: what was left out, and why; empty unless `data.on_bad_pair` is `drop`.
    """

    source: str
    image_root: Path
    records: tuple[ImageRecord, ...]
    image_digests: tuple[str, ...]
    dropped: tuple[str, ...] = ()

    def split(self, name: Split) -> tuple[ImageRecord, ...]:
        """Return the records of one split, in order."""
        return tuple(record for record in self.records if record.split == name)

    def image_paths(self, name: Split) -> list[Path]:
        """Return the absolute image paths of one split, in order."""
        return [self.image_root / record.image for record in self.split(name)]

    def digests(self, name: Split) -> list[str]:
        """Return the SHA-256 of each image file of one split, in order."""
        records = zip(self.records, self.image_digests, strict=True)
        return [content for record, content in records if record.split == name]

    def captions(self, name: Split) -> list[str]:
        """Return all captions of one split, image after image."""
        return [caption for record in self.split(name) for caption in record.captions]

    def caption_owner(self, name: Split) -> list[int]:
        """Return, for each of `captions(name)`, the index in `split(name)` of the image it belongs to."""
        return [index for index, record in enumerate(self.split(name)) for _ in record.captions]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over image paths, image contents, captions and splits, in order; the image root plays no part."""
        parts: list[str] = []
        for record, image_digest in zip(self.records, self.image_digests, strict=True):
            parts += [record.image, image_digest, record.split, str(len(record.captions)), *record.captions]
        return digest(*parts)

    def split_fingerprint(self, name: Split) -> str:
        """SHA-256 over the image contents and captions of one split, in order; file names play no part."""
        parts: list[str] = []
        for record, image_digest in zip(self.records, self.image_digests, strict=True):
            if record.split == name:
                parts += [image_digest, str(len(record.captions)), *record.captions]
        return digest(*parts)

    def save(self, path: Path) -> None:
        """Write the manifest as JSON, atomically."""
        content = {
            "format": _FORMAT,
            "source": self.source,
            "image_root": str(self.image_root),
            "fingerprint": self.fingerprint,
            "records": [
                {"image": record.image, "sha256": image_digest, "split": record.split, "captions": record.captions}
                for record, image_digest in zip(self.records, self.image_digests, strict=True)
            ],
            "dropped": self.dropped,
        }
        write_json(path, content)

    @classmethod
    def load(cls, path: Path) -> "Manifest":
        """Return the manifest that `save` wrote.

        Raises:
            ArtifactError: the file is missing, of another format, damaged or edited.
        """
        content = read_json(path)
        found = content.get("format") if isinstance(content, dict) else None
        if found != _FORMAT:
            raise ArtifactError(
                f"{path} has format {found!r}; this version reads {_FORMAT!r}. Build the manifest again"
            )
        try:
            manifest = _from_json(content)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{path} is damaged ({error!r}); delete it and build the manifest again") from error
        if manifest.fingerprint != content.get("fingerprint"):
            raise ArtifactError(
                f"{path} was changed after it was written: its fingerprint is {content.get('fingerprint')}, its "
                f"content gives {manifest.fingerprint}. Delete it and build the manifest again"
            )
        return manifest


def build_manifest(
    config: DataConfig,
    cache_dir: Path,
    *,
    need: Mapping[Split, int] | None = None,
    verify: bool = False,
    emit: Emit = silent,
) -> Manifest:
    """Read the pairs, check every one of them, and return those that can be used.

    Listings of the same image and split are merged, their captions in order. An image that stands in two splits, by
    its name or under another one by its content, keeps the first. Equal captions inside one listing are kept (two
    people may well write the same); the same image and caption in two listings is a problem.

    Args:
        config: the data settings.
        cache_dir: folder for images that a source has to draw or extract first, and for what is known of images.
        need: the least number of images per split; None asks for no more than one image in all.
        verify: whether images are read again that have not changed since they were checked.
        emit: told how many images of how many are checked.

    Raises:
        DataError: there are bad pairs and `config.on_bad_pair` is `error`, or too few images are left. All problems
            are in one message.
        MissingDependencyError: the source needs an optional package.
    """
    raw = read_source(config, cache_dir)
    checked = _Assembly(config)
    checked.problems.extend(raw.unreadable)
    checked.add_all(raw, Checking(cache_dir, config.max_pixels, verify), emit)
    records, digests = checked.records()
    shortages = _shortages(records, need or {})
    bad = tuple(checked.problems)
    if shortages or (bad and config.on_bad_pair == "error"):
        raise DataError(_report(config, shortages, bad, checked.common_causes(len(records))))
    return Manifest(config.source, raw.image_root, records, digests, bad)


def _shortages(records: tuple[ImageRecord, ...], need: Mapping[Split, int]) -> list[str]:
    if not records:
        return ["no usable image is left; check data.root, data.annotations and data.images"]
    have: dict[Split, int] = {split: sum(record.split == split for record in records) for split in SPLITS}
    return [
        f"split '{split}' has {have[split]} usable images but {need[split]} are needed; "
        f"add images{_or_fewer(split, have)}"
        for split in SPLITS
        if have[split] < need.get(split, 0)
    ]


def _or_fewer(split: Split, have: Mapping[Split, int]) -> str:
    """Return how to ask for fewer pairs, as the end of a sentence, where that helps."""
    if split != "train" or not have[split]:
        return ""
    return f", or ask for fewer pairs, such as --distill.phases '[{{num_pairs: {max(1, have[split] // 2)}}}]'"


def _report(config: DataConfig, shortages: list[str], bad: tuple[str, ...], causes: list[str]) -> str:
    # Shortages come first: they are few, and a long list of bad pairs must not hide them.
    problems = [*shortages, *bad]
    place = config.root or config.source
    noun = "problem" if len(problems) == 1 else "problems"
    message = f"{len(problems)} {noun} in the pairs of {place}:\n{list_problems(problems)}"
    if causes:
        message += "\n" + "\n".join(causes)
    elif bad and config.on_bad_pair == "error":
        message += "\nCorrect them, or leave the bad pairs out with `--data.on_bad_pair drop`."
    return message


@dataclass
class _Assembly:
    """Good captions by image, and the problems, while listings are gone through in order."""

    config: DataConfig
    problems: list[str] = field(default_factory=list)
    _captions: dict[str, list[str]] = field(default_factory=dict)
    _splits: dict[str, Split] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)
    _contents: dict[str, str] = field(default_factory=dict)
    _missing: int = 0
    _other_splits: Counter[str] = field(default_factory=Counter)

    def add_all(self, raw: RawPairs, checking: Checking, emit: Emit) -> None:
        """Go through all listings; images are checked once each, beforehand."""
        paths = [self._clean(pair) for pair in raw.pairs]
        distinct = list(dict.fromkeys(path for path in paths if path is not None))
        outcomes = check_images(raw.image_root, distinct, checking, emit)
        checks = dict(zip(distinct, outcomes, strict=True))
        for pair, path in zip(raw.pairs, paths, strict=True):
            if path is not None:
                self._add(pair, path, checks[path])

    def records(self) -> tuple[tuple[ImageRecord, ...], tuple[str, ...]]:
        """Return the records and their images' digests."""
        images = [image for image, captions in self._captions.items() if captions]
        records = tuple(ImageRecord(image, tuple(self._captions[image]), self._splits[image]) for image in images)
        return records, tuple(self._digests[image] for image in images)

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

    def _clean(self, pair: RawPair) -> str | None:
        try:
            return clean_path(pair.image)
        except DataError as error:
            self.problems.append(f"{pair.where}: image {shown(pair.image)} {error}")
            return None

    def _add(self, pair: RawPair, path: str, check: ImageCheck) -> None:
        split, image = _as_split(pair.split), f"{pair.where}: image {shown(pair.image)}"
        if check.problem is not None:
            self.problems.append(f"{image} {check.problem}")
            self._missing += check.missing
        elif split is None:
            self.problems.append(f"{image} has split {shown(pair.split)}; it must be one of {', '.join(SPLITS)}")
            self._other_splits[shown(pair.split)] += 1
        elif self._splits.setdefault(path, split) != split:
            self.problems.append(f"{image} is in split '{split}' but also in '{self._splits[path]}'")
        elif self._splits[first := self._contents.setdefault(check.digest, path)] != split:
            # Most sources name an image by its file; what is learned from it cannot be told by another name.
            also = f"with the same content as {shown(first)}"
            self.problems.append(f"{image} is in split '{split}' but also, {also}, in '{self._splits[first]}'")
        else:
            self._digests[path] = check.digest
            known = self._captions.setdefault(path, [])
            known += self._good_captions(pair, frozenset(known))

    def _good_captions(self, pair: RawPair, known: frozenset[str]) -> Iterable[str]:
        good, image = [], f"{pair.where}: image {shown(pair.image)}"
        for text in pair.captions:
            if len(text) > MAX_CAPTION_CHARACTERS:
                self.problems.append(
                    f"{image} has a caption of {len(text)} characters, more than "
                    f"{MAX_CAPTION_CHARACTERS}: {shown(text)}"
                )
                continue
            caption = caption_as(self.config.captions, text)
            if not caption.strip():
                self.problems.append(f"{image} has the empty caption {shown(text)}")
            elif stands_for_nothing(text):
                self.problems.append(f"{image} has the caption {shown(text)}, which stands for a missing one")
            elif caption in known:
                self.problems.append(f"{image} is listed twice with caption {shown(caption)}")
            else:
                good.append(caption)
        return good


def _as_split(value: Any) -> Split | None:
    names: dict[str, Split] = {split: split for split in SPLITS}
    return names.get(value) if isinstance(value, str) else None


def _from_json(content: Mapping[str, Any]) -> Manifest:
    records = tuple(_record_from_json(entry) for entry in content["records"])
    return Manifest(
        source=_string(content["source"]),
        image_root=Path(_string(content["image_root"])),
        records=records,
        image_digests=tuple(_string(entry["sha256"]) for entry in content["records"]),
        dropped=tuple(_string(entry) for entry in content["dropped"]),
    )


def _record_from_json(entry: Mapping[str, Any]) -> ImageRecord:
    split = _as_split(entry["split"])
    if split is None:
        raise ValueError(f"split {entry['split']!r} is not one of {', '.join(SPLITS)}")
    return ImageRecord(_string(entry["image"]), tuple(_string(caption) for caption in entry["captions"]), split)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value
