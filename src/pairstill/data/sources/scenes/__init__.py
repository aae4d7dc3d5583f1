"""The embedded benchmark: scenes of coloured shapes, drawn and described from a seed."""

from collections.abc import Iterator
from pathlib import Path

from pairstill.config import DataConfig
from pairstill.core.schema import Split
from pairstill.data.sources.extraction import extract_once, write_once
from pairstill.data.sources.raw import RawPair, RawPairs
from pairstill.data.sources.scenes.captions import describe
from pairstill.data.sources.scenes.picture import render
from pairstill.data.sources.scenes.scene import SceneListing, generate_scenes
from pairstill.storage import digest

# Raise it with any change of pixels, scenes or captions, so that no cache mixes two kinds.
VERSION = 1


def read(config: DataConfig, cache_dir: Path) -> RawPairs:
    """Draw the scenes of `config.scenes` into the cache, once, and list them with their captions.

    Args:
        config: only `scenes` is used.
        cache_dir: receives `images/scenes-<key>/`.
    """
    scenes = config.scenes
    counts: dict[Split, int] = {"train": scenes.train, "val": scenes.val, "test": scenes.test}
    parts = (VERSION, scenes.size, scenes.seed, *counts.values())
    key = f"scenes-v{VERSION}-{digest(*map(str, parts))[:16]}"
    return extract_once(
        cache_dir, key, [lambda folder: _write(folder, generate_scenes(scenes.seed, counts), scenes.size)]
    )


def _write(folder: Path, listings: tuple[SceneListing, ...], size: int) -> Iterator[RawPair]:
    for listing in listings:
        name = f"{listing.split}-{listing.index:06d}.png"
        image = render(listing.scene, size)
        write_once(folder / name, image.save)
        yield RawPair(name, describe(listing.scene, listing.seed), listing.split, name)
