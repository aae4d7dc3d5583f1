"""LLaVA-CC3M-Pretrain-595K, split 3:1:1 at random."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pairstill.config import DataConfig
from pairstill.core.errors import DataError, shown
from pairstill.core.schema import Split
from pairstill.data.sources.raw import (
    Lazily,
    RawPair,
    RawPairs,
    image_root_of,
    parse_listing,
    read_annotations_json,
)
from pairstill.storage import digest


def read(config: DataConfig, cache_dir: Path) -> RawPairs:
    """Read `metadata.json` (`image`, `caption`) or `chat.json` (`image`, `conversations`).

    A conversation's caption is the first answer from "gpt". The published set has no split; images are split 3:1:1,
    unless `split` says how.

    Args:
        config: `annotations` is the JSON file, `images` the folder of the image files, `split_seed` makes the split.
        cache_dir: not used; images stay where they are.

    Raises:
        DataError: the file is missing or not of this format.
    """
    entries = read_annotations_json(config, "blip")
    if not isinstance(entries, list):
        raise DataError(
            f"{config.annotations} is not a list at its top; set data.annotations to the metadata.json or chat.json "
            "of LLaVA-CC3M-Pretrain-595K"
        )
    images = [entry.get("image") for entry in entries if isinstance(entry, dict)]
    splits: dict[str, Split] = {}
    if config.split is None:
        splits = split_at_random([image for image in images if isinstance(image, str)], config.split_seed)
    return RawPairs(image_root_of(config), Lazily(partial(_parse, entries, splits)))


def split_at_random(images: list[str], seed: int) -> dict[str, Split]:
    """Return the split of each distinct image: one fifth each for val and test (rounded down), the rest for train.

    Images are ranked by a hash of seed and name, so their order in the file plays no part.
    """
    # a name may hold what no text does, and is refused later, by its place in the list
    ranked = sorted(
        set(images), key=lambda image: digest("llava_cc3m", str(seed), image.encode(errors="surrogatepass"))
    )
    fifth = len(ranked) // 5
    splits: dict[str, Split] = {}
    for rank, image in enumerate(ranked):
        splits[image] = "val" if rank < fifth else "test" if rank < 2 * fifth else "train"
    return splits


def _parse(entries: list[Any], splits: dict[str, Split]) -> Iterator[RawPair | str]:
    for number, entry in enumerate(entries):
        where = f"entry {number}"
        if not isinstance(entry, dict):
            yield f"{where}: {shown(entry)} is not an object"
            continue
        image = entry.get("image")
        split = splits.get(image, "train") if isinstance(image, str) else "train"
        yield parse_listing(image=image, captions=_caption(entry), split=split, where=where)


def _caption(entry: dict[str, Any]) -> Any:
    if "caption" in entry:
        return entry["caption"]
    turns = entry.get("conversations")
    if not isinstance(turns, list):
        return turns
    answers = [turn.get("value") for turn in turns if isinstance(turn, dict) and turn.get("from") == "gpt"]
    return answers[0] if answers else None
