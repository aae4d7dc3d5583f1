"""What a run's pairs, and real ones, take on a disk, and the pairs as they come back from there."""

from pairstill.distilled import TENSORS, DistilledSet
from pairstill.exchange.compact import caption_bytes, from_disk, sizes
from pairstill.run.context import RunContext
from pairstill.storage import file_digest


def disk_bytes(context: RunContext, distilled: DistilledSet) -> int:
    """Return the bytes of the smallest form of a run's pairs."""
    key = ("disk bytes", file_digest(context.folder.distilled / TENSORS))
    return context.memo.get(key, lambda: sizes(distilled).total)


def stored_form(context: RunContext, distilled: DistilledSet) -> DistilledSet:
    """Return a run's pairs as they are read from their smallest form."""
    return from_disk(distilled, context.text.encode)


def real_bytes(context: RunContext) -> int:
    """Return the bytes of all training photos, as their files are, with all captions."""
    manifest = context.manifest

    def total() -> int:
        photos = sum(path.stat().st_size for path in manifest.image_paths("train"))
        return photos + caption_bytes(manifest.captions("train"))

    return context.memo.get(("real bytes", context.config.data), total)


def real_pair_bytes(context: RunContext) -> float:
    """Return the mean bytes of a training photo, as its file is, with one caption."""
    manifest = context.manifest
    captions = manifest.captions("train")
    photos = real_bytes(context) - caption_bytes(captions)
    return photos / len(manifest.split("train")) + caption_bytes(captions) / len(captions)
