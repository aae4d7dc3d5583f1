"""The manifest: every real pair of a run, checked before any work, with a fingerprint of the data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pairstill.config import DataConfig
from pairstill.core.errors import ArtifactError, DataError, list_problems
from pairstill.core.schema import SPLITS, ImageRecord, Split
from pairstill.data.assembly import Assembly, as_split
from pairstill.data.checks import Checking
from pairstill.data.division import divided, refuse_empty
from pairstill.data.overlaps import Overlaps, overlaps_of
from pairstill.data.sources import read_source
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
        image_digests: SHA-256 of each record's image file, in the order of `records`; of one that is turned or laid on
            a background, of that too (`ImageCheck.digest`).
        dropped: what was left out, and why; empty unless `data.on_bad_pair` is `drop`.
        background: what shows through transparent pixels, as `data.background` has it.
        division: how images were divided among the splits, if the data did not say it.
        notes: what else must be said of how the pairs were read, a sentence each.
        overlaps: what splits have in common; nothing is known of a manifest that was read from a file.
    """

    source: str
    image_root: Path
    records: tuple[ImageRecord, ...]
    image_digests: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    background: str = "white"
    division: str | None = None
    notes: tuple[str, ...] = ()
    overlaps: Overlaps | None = field(default=None, compare=False)

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

    def parts(self, name: Split) -> dict[str, str]:
        """SHA-256 over the image paths, over the image contents and over the captions of one split, each in order."""
        records, contents = self.split(name), self.digests(name)
        captions = (part for record in records for part in (str(len(record.captions)), *record.captions))
        return {
            "names": digest(*(record.image for record in records)),
            "images": digest(*contents),
            "captions": digest(*captions),
        }

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
            "background": self.background,
            "notes": self.notes,
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
    refuse_empty({pair.split for pair in raw.pairs}, [split for split, least in (need or {}).items() if least], config)
    checked = Assembly(config)
    checked.problems.extend(raw.unreadable)
    checked.add_all(raw, Checking(cache_dir, config.max_pixels, config.background, verify), emit)
    kept = divided(checked.kept(), config)
    records = tuple(image.record for image in kept)
    shortages = _shortages(records, need or {})
    bad = tuple(checked.problems)
    if shortages or (bad and config.on_bad_pair == "error"):
        raise DataError(_report(config, shortages, bad, checked.common_causes(len(records))))
    return Manifest(
        source=config.source,
        image_root=raw.image_root,
        records=records,
        image_digests=tuple(image.digest for image in kept),
        dropped=bad,
        background=config.background,
        division=config.split and f"{config.split}, seed {config.split_seed}",
        notes=raw.notes,
        overlaps=overlaps_of(kept),
    )


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


def _from_json(content: Mapping[str, Any]) -> Manifest:
    records = tuple(_record_from_json(entry) for entry in content["records"])
    return Manifest(
        source=_string(content["source"]),
        image_root=Path(_string(content["image_root"])),
        records=records,
        image_digests=tuple(_string(entry["sha256"]) for entry in content["records"]),
        dropped=tuple(_string(entry) for entry in content["dropped"]),
        background=_string(content.get("background", "white")),
        notes=tuple(_string(entry) for entry in content.get("notes", ())),
    )


def _record_from_json(entry: Mapping[str, Any]) -> ImageRecord:
    split = as_split(entry["split"])
    if split is None:
        raise ValueError(f"split {entry['split']!r} is not one of {', '.join(SPLITS)}")
    return ImageRecord(_string(entry["image"]), tuple(_string(caption) for caption in entry["captions"]), split)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value
