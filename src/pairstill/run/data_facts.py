"""What `data.json` and a distilled set say of the real pairs."""

from collections.abc import Mapping
from typing import Any

from pairstill.core.schema import SPLITS
from pairstill.data.manifest import Manifest

_OTHERS = {
    "images": "other images, or the same in another order",
    "captions": "other captions, or the same in another order",
    "names": "other names of files",
}


def describe_data(manifest: Manifest) -> dict[str, Any]:
    """Return source, fingerprints, sizes, and what was left out."""
    return {
        "source": manifest.source,
        "fingerprint": manifest.fingerprint,
        "test_fingerprint": manifest.split_fingerprint("test"),
        "images": {split: len(manifest.split(split)) for split in SPLITS},
        "captions": {split: len(manifest.captions(split)) for split in SPLITS},
        "parts": {split: manifest.parts(split) for split in SPLITS},
        "dropped": list(manifest.dropped),
    }


def what_changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return in brackets how real pairs are not those from before; an empty word where that was not written down.

    Args:
        before: what `describe_data` said then; older versions say less.
        now: what it says now.

    Example:
        >>> what_changed({"images": {"train": 8, "val": 2}}, {"images": {"train": 9, "val": 2}})
        ' (train: 8 images before, 9 now)'
    """
    found = []
    for split in SPLITS:
        counts = [f"{a:,} {kind} before, {b:,} now" for kind, a, b in _both(before, now, split) if a != b]
        known, today = before.get("parts", {}).get(split, {}), now.get("parts", {}).get(split, {})
        others = [words for part, words in _OTHERS.items() if part in known and known[part] != today.get(part)]
        if counts or others:
            found.append(f"{split}: {', '.join(counts or others)}")
    return f" ({'; '.join(found)})" if found else ""


def _both(before: Mapping[str, Any], now: Mapping[str, Any], split: str) -> list[tuple[str, int, int]]:
    """Return how many images and captions of a split there were, and are, where both are known."""
    pairs = ((kind, before.get(kind, {}), now.get(kind, {})) for kind in ("images", "captions"))
    return [(kind, then[split], today[split]) for kind, then, today in pairs if split in then and split in today]
