"""Listings put together into records, image by image, with every bad pair told by its place."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pairstill.config import DataConfig
from pairstill.core.errors import DataError, shown
from pairstill.core.schema import SPLITS, ImageRecord, Split
from pairstill.data.captions import MAX_CAPTION_CHARACTERS, caption_as, stands_for_nothing
from pairstill.data.checks import Checking, ImageCheck, check_images, clean_path
from pairstill.data.division import Kept
from pairstill.data.sources.raw import RawPair, RawPairs
from pairstill.events import Emit


@dataclass
class Assembly:
    """Good captions by image, and the problems, while listings are gone through in order."""

    config: DataConfig
    problems: list[str] = field(default_factory=list)
    _captions: dict[str, list[str]] = field(default_factory=dict)
    _splits: dict[str, Split] = field(default_factory=dict)
    _checks: dict[str, ImageCheck] = field(default_factory=dict)
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

    def kept(self) -> list[Kept]:
        """Return the images that may be used, with their captions, in the order in which they were met."""
        return [
            Kept(
                ImageRecord(image, tuple(captions), self._splits[image]),
                self._checks[image].digest,
                self._checks[image].pixels,
            )
            for image, captions in self._captions.items()
            if captions
        ]

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
        split, image = as_split(pair.split), f"{pair.where}: image {shown(pair.image)}"
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
            self._checks[path] = check
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


def as_split(value: Any) -> Split | None:
    """Return the split that a value names, or None."""
    names: dict[str, Split] = {split: split for split in SPLITS}
    return names.get(value) if isinstance(value, str) else None
