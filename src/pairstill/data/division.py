"""Division of images among the splits where the data says nothing of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from pairstill.config import DataConfig
from pairstill.config.data import GIVE_SHARES, without_share
from pairstill.core.errors import DataError
from pairstill.core.formatting import counted
from pairstill.core.schema import SPLITS, ImageRecord, Split
from pairstill.storage import digest


@dataclass(frozen=True)
class Kept:
    """An image that may be used.

    Attributes:
        record: its captions.
        digest: of its file.
        pixels: of its picture, which copies of it share.
    """

    record: ImageRecord
    digest: str
    pixels: str


def divided(images: Sequence[Kept], config: DataConfig) -> list[Kept]:
    """Return the images in order, those of `train` divided at random among the splits as `data.split` says.

    Images are ranked by a hash of the seed and their content: neither their order nor their names play a part. Copies
    of a picture go where the first of them goes. Each share that is above 0 gets an image, if there are as many.

    Raises:
        DataError: a split that is to get a share has images already.
    """
    shares = config.shares
    if shares is None:
        return list(images)
    _refuse_filled(images, shares)
    groups: dict[str, list[int]] = {}
    for number, image in enumerate(images):
        if image.record.split == "train":
            groups.setdefault(image.pixels or image.digest, []).append(number)
    seed = str(config.split_seed)
    ranked = sorted(groups.values(), key=lambda group: min(digest("split", seed, images[n].digest) for n in group))
    split_of = _split_of(ranked, shares)
    return [
        replace(image, record=replace(image.record, split=split_of.get(number, image.record.split)))
        for number, image in enumerate(images)
    ]


def refuse_empty(present: Collection[str], needed: Collection[Split], config: DataConfig) -> None:
    """Refuse shares of 0 that leave a split empty, before any image is looked at.

    Args:
        present: the splits that the listings name.
        needed: those that must have images.
        config: the data settings.

    Raises:
        DataError: one that is needed has neither images nor a share.
    """
    for split, share in zip(SPLITS, config.shares or (), strict=False):
        if share == 0 and split in needed and split not in present:
            raise DataError(
                f"{without_share(config.split, split)}, and the data has no image of {split}; {GIVE_SHARES}"
            )


def _split_of(ranked: Sequence[Sequence[int]], shares: tuple[int, int, int]) -> Mapping[int, Split]:
    """Return the split of each image: the first ranks are val, the next ones test, all others train."""
    total = sum(map(len, ranked))
    found: dict[int, Split] = {}
    left = iter(ranked)
    for split, share in zip(SPLITS[1:], shares[1:], strict=True):
        wanted, given = max(share > 0, total * share // sum(shares)), 0
        while given < wanted and (group := next(left, None)) is not None:
            found.update(dict.fromkeys(group, split))
            given += len(group)
    return found


def _refuse_filled(images: Sequence[Kept], shares: tuple[int, int, int]) -> None:
    for place, split in enumerate(SPLITS[1:], start=1):
        filled = sum(image.record.split == split for image in images)
        if filled and shares[place]:
            without = ":".join("0" if at == place else str(share) for at, share in enumerate(shares))
            raise DataError(
                f"data.split gives a share to {split}, which has {counted(filled, 'image')} already; write 0 for it "
                f"('random {without}'), leave data.split out, or, if a column names splits, set data.columns.split to "
                "null"
            )
