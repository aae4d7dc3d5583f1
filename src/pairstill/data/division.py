"""Division of images among the splits where the data says nothing of them."""

from collections.abc import Collection, Iterator

import numpy
from numpy.typing import NDArray

from pairstill.config import DataConfig
from pairstill.config.data import GIVE_SHARES, without_share
from pairstill.core.errors import DataError
from pairstill.core.formatting import counted
from pairstill.core.schema import SPLITS, Split
from pairstill.data.assembly import Kept
from pairstill.data.keys import blocks, key_order
from pairstill.storage import digest

_TRAIN = SPLITS.index("train")


def divided(kept: Kept, config: DataConfig) -> NDArray[numpy.uint8]:
    """Return the number of each image's split, those of `train` divided at random as `data.split` says.

    Images are ranked by a hash of the seed and their content: neither their order nor their names play a part. Copies
    of a picture go where the first of them goes. Each share that is above 0 gets an image, if there are as many.

    Raises:
        DataError: a split that is to get a share has images already.
    """
    shares = config.shares
    if shares is None:
        return kept.splits
    _refuse_filled(kept, shares)
    images = numpy.flatnonzero(kept.splits == _TRAIN)
    ranks = _ranks(kept, images, config.split_seed)
    # one row for each picture: the best rank of its copies
    _, group = numpy.unique(kept.pixels[images], return_inverse=True)
    best = numpy.full(group.max(initial=-1) + 1, len(images))
    numpy.minimum.at(best, group, ranks)
    order = numpy.argsort(best)
    sizes = numpy.bincount(group, minlength=len(best))[order]
    splits = numpy.array(kept.splits)
    splits[images] = _split_of(sizes, shares)[numpy.argsort(order)][group]
    return splits


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


def _ranks(kept: Kept, images: NDArray[numpy.int64], seed: int) -> NDArray[numpy.int64]:
    """Return the place of each of the images among them all."""
    keys = numpy.frombuffer(b"".join(_hashes(kept, images, seed)), ">u8").reshape(-1, 2)
    ranks = numpy.empty(len(images), numpy.int64)
    ranks[key_order(keys)] = numpy.arange(len(images))
    return ranks


def _hashes(kept: Kept, images: NDArray[numpy.int64], seed: int) -> Iterator[bytes]:
    for some in blocks(len(images), 4096):
        content = kept.digests[images[some]].tobytes().hex()
        for at in range(0, len(content), 64):
            yield bytes.fromhex(digest("split", str(seed), content[at : at + 64])[:32])


def _split_of(sizes: NDArray[numpy.int64], shares: tuple[int, int, int]) -> NDArray[numpy.uint8]:
    """Return the split of each picture, in the order of their ranks: first val, then test, all others train.

    Args:
        sizes: how many images show each picture.
        shares: of the splits.
    """
    total, begin = int(sizes.sum()), 0
    splits = numpy.full(len(sizes), _TRAIN, numpy.uint8)
    for number, share in enumerate(shares[1:], start=1):
        wanted = max(share > 0, total * share // sum(shares))
        given = numpy.cumsum(sizes[begin:]) - sizes[begin:]  # before each one
        end = begin + int((given < wanted).sum())
        splits[begin:end] = number
        begin = end
    return splits


def _refuse_filled(kept: Kept, shares: tuple[int, int, int]) -> None:
    for place, split in enumerate(SPLITS[1:], start=1):
        filled = int(numpy.count_nonzero(kept.splits == place))
        if filled and shares[place]:
            without = ":".join("0" if at == place else str(share) for at, share in enumerate(shares))
            raise DataError(
                f"data.split gives a share to {split}, which has {counted(filled, 'image')} already; write 0 for it "
                f"('random {without}'), leave data.split out, or, if a column names splits, set data.columns.split to "
                "null"
            )
