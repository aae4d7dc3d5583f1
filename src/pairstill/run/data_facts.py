"""What `data.json` and a distilled set say of the real pairs."""

from typing import Any

from pairstill.data.manifest import Manifest


def describe_data(manifest: Manifest) -> dict[str, Any]:
    """Return source, fingerprints, sizes, and what was left out."""
    return {
        "source": manifest.source,
        "fingerprint": manifest.fingerprint,
        "test_fingerprint": manifest.split_fingerprint("test"),
        "images": {split: len(manifest.split(split)) for split in ("train", "val", "test")},
        "captions": {split: len(manifest.captions(split)) for split in ("train", "val", "test")},
        "dropped": list(manifest.dropped),
    }
