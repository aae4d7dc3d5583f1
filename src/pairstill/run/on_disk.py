"""What a run's pairs, and real ones, take on a disk, and the pairs as they come back from there."""

from dataclasses import replace
from statistics import fmean

from pairstill.distilled import TENSORS, DistilledSet
from pairstill.exchange.compact import caption_bytes, from_disk, sizes
from pairstill.run.context import RunContext
from pairstill.run.parts import OneOfSeveral
from pairstill.storage import file_digest


def disk_bytes(context: RunContext, distilled: DistilledSet, quality: int | None = None) -> int:
    """Return the bytes of the smallest form of a run's pairs; of chosen real ones, of their photos and captions.

    Args:
        context: the run.
        distilled: its pairs.
        quality: of JPEG, in which learned pixels are; None takes PNG.
    """
    key = ("disk bytes", file_digest(context.folder.distilled / TENSORS), quality)
    if context.method.rule is not None:
        return context.memo.get(key, lambda: _chosen_bytes(context, distilled))
    return context.memo.get(key, lambda: sizes(distilled, quality).total)


def _chosen_bytes(context: RunContext, distilled: DistilledSet) -> int:
    root = context.manifest.image_root
    photos = sum((root / source).stat().st_size for phase in distilled.phases for source in phase.sources)
    return photos + sum(caption_bytes(phase.captions) for phase in distilled.phases)


def stored_form(context: RunContext, distilled: DistilledSet, quality: int | None = None) -> DistilledSet:
    """Return a run's pairs as they are read from their smallest form; chosen real ones are what they are."""
    return distilled if context.method.rule is not None else from_disk(distilled, context.text.encode, quality)


def jpeg_quality(context: RunContext, distilled: DistilledSet) -> int | None:
    """Return the quality of JPEG down to which validation recall does not fall below that of PNG.

    They are tried from the highest on, and the first with which it falls ends that. It is the recall of one student, at
    the learned rates; of several image towers, the mean of theirs.

    Args:
        context: the run; if it is of one of several towers, the choice is that of all.
        distilled: its pairs.

    Returns:
        The quality; None where none is good enough, and PNG stays, and where all pictures are photos' own files.
    """
    if context.method.rule is not None or all(phase.photos for phase in distilled.phases):
        return None
    qualities = tuple(sorted(set(context.config.evaluate.jpeg_qualities), reverse=True))
    key = ("jpeg quality", file_digest(context.folder.distilled / TENSORS), qualities)

    def choose() -> int | None:
        least, good = _validation(context, stored_form(context, distilled)), None
        for quality in qualities:
            if _validation(context, stored_form(context, distilled, quality)) < least:
                break
            good = quality
        if good is None:
            context.warn(f"JPEG of quality {qualities[0]} has a lower validation recall than PNG, which stays")
        return good

    return context.memo.get(key, choose)


def _validation(context: RunContext, distilled: DistilledSet) -> float:
    """Return the validation recall of pairs behind the run's image tower; of several, the mean of theirs."""
    if context.one_of is None:
        return context.evaluator.validate(distilled)
    images = context.one_of.images
    towers = [
        replace(context.with_config(replace(context.config, image=image)), one_of=OneOfSeveral(number, images))
        for number, image in enumerate(images)
    ]
    return fmean(tower.evaluator.validate(distilled.of_tower(number)) for number, tower in enumerate(towers))


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


def pairs_of_bytes(context: RunContext, count: int) -> int:
    """Return how many photos with a caption take so many bytes on disk: two at least, and no more than there are."""
    return min(max(2, int(count / real_pair_bytes(context))), len(context.manifest.split("train")))
