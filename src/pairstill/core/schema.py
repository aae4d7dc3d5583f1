"""Types that several layers share: splits, and one image with its captions."""

from dataclasses import dataclass
from typing import Literal, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class ImageRecord:
    """One image with its captions.

    Attributes:
        image: path of the image file, relative to the manifest's image root, with "/" between folders.
        captions: the captions as they will be encoded (already normalised), at least one.
        split: the split that the image and all its captions belong to.
    """

    image: str
    captions: tuple[str, ...]
    split: Split
