"""Building of the manifest: pairs are read, checked, divided, and put into columns, before any work."""

from collections.abc import Mapping
from pathlib import Path

import numpy
from numpy.typing import NDArray

from pairstill.config import DataConfig
from pairstill.core.errors import DataError, list_problems
from pairstill.core.schema import SPLITS, Split
from pairstill.data.assembly import Assembly, Kept
from pairstill.data.checks import Checking
from pairstill.data.division import divided, refuse_empty
from pairstill.data.keys import Scratch
from pairstill.data.listings import listed
from pairstill.data.manifest import COLUMNS, Manifest, fingerprint_of
from pairstill.data.overlaps import overlaps_of
from pairstill.data.sources import read_source
from pairstill.events import Emit, silent
from pairstill.storage import temporary_folder, writing
from pairstill.storage.cache import cache_folder
from pairstill.storage.columns import Columns, writing_columns


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
    raw = read_source(config, cache_dir)  # first: where there is none, no folder is made
    place = cache_folder(cache_dir, "manifests")
    with temporary_folder(place / "building") as folder:
        scratch = Scratch(folder)
        listings, assembly = listed(raw, scratch), Assembly(config, scratch)
        refuse_empty(listings.split_names, [split for split, least in (need or {}).items() if least], config)
        checking = Checking(cache_dir, config.max_pixels, config.background, verify)
        kept = assembly.add_all(listings, raw.image_root, checking, emit)
        splits = divided(kept, config)
        shortages, bad = _shortages(splits, need or {}), tuple(assembly.problems)
        if shortages or (bad and config.on_bad_pair == "error"):
            raise DataError(_report(config, shortages, bad, assembly.common_causes(len(splits))))
        columns, fingerprint = _placed(place, _with_splits(kept, splits))
        return Manifest(
            source=config.source,
            image_root=raw.image_root,
            columns=columns,
            dropped=bad,
            background=config.background,
            division=config.split and f"{config.split}, seed {config.split_seed}",
            notes=raw.notes,
            overlaps=overlaps_of(columns, splits, kept.pixels),
            fingerprint=fingerprint,
        )


def _with_splits(kept: Kept, splits: NDArray[numpy.uint8]) -> Columns:
    """Return the columns of the images that may be used, each in its split."""
    if splits is kept.splits:
        return kept.columns
    path = kept.columns.path.with_name("divided.arrow")
    with writing_columns(path, COLUMNS) as add:
        for number, (image, content, _, captions) in zip(splits, kept.columns.rows(*COLUMNS), strict=True):
            add(image, content, SPLITS[number], captions)
    return Columns(path)


def _placed(place: Path, columns: Columns) -> tuple[Columns, str]:
    """Return the columns from where they are kept, with their fingerprint, which is how their file is called there."""
    fingerprint = fingerprint_of(columns)
    path = place / f"{fingerprint}.arrow"
    with writing(path):
        columns.path.replace(path)
    return Columns(path), fingerprint


def _shortages(splits: NDArray[numpy.uint8], need: Mapping[Split, int]) -> list[str]:
    if not len(splits):
        return ["no usable image is left; check data.root, data.annotations and data.images"]
    counts = numpy.bincount(splits, minlength=len(SPLITS)).tolist()
    have: dict[Split, int] = dict(zip(SPLITS, counts, strict=True))
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
