"""Settings of the real pairs."""

import re
from dataclasses import dataclass, field
from typing import Literal

from pairstill.config.checks import require, require_positive
from pairstill.core.schema import SPLITS, Split

MAX_CAPTION_WORDS = 30
CaptionForm = Literal["plain", "paper", "as_they_are"]
Source = Literal["scenes", "karpathy", "coco", "blip", "folder", "llava_cc3m", "table", "huggingface", "webdataset"]
BACKGROUNDS = "white|black|#[0-9a-f]{6}"
"""What `data.background` can be, as a regular expression."""
GIVE_SHARES = "each share must be above 0 where no images are there already, such as 'random 8:1:1'"
_SHARES = re.compile(r"random (\d{1,9}):(\d{1,9}):(\d{1,9})")


def without_share(split: str | None, name: Split) -> str:
    """Return that `data.split` has no share for a split, as the beginning of a sentence."""
    return f"data.split is {split!r}, which gives {name} nothing"


@dataclass(frozen=True)
class ScenesConfig:
    """The embedded procedural benchmark.

    Attributes:
        train: number of training images (five captions each).
        val: number of validation images.
        test: number of test images.
        size: side of the square images, in pixels.
        seed: seed of the generated scenes; the same seed gives the same pixels and captions.
    """

    train: int = 1500
    val: int = 200
    test: int = 300
    size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive("data.scenes", train=self.train, val=self.val, test=self.test)
        require(self.size >= 16, f"data.scenes.size is {self.size}; shapes need at least 16 pixels")


@dataclass(frozen=True)
class ColumnsConfig:
    """Names of the columns (or tar members) that a table, hub dataset or webdataset holds.

    Attributes:
        image: column with the image path (table) or the image itself (huggingface); for webdataset, the
            extensions that hold images, separated by semicolons.
        caption: column with a caption, or with a list of captions; for webdataset, the extension of the text member.
        split: column that names the split; null if none does. huggingface reads it where `data.splits` names `train`
            alone.
    """

    image: str = "image"
    caption: str = "caption"
    split: str | None = "split"


@dataclass(frozen=True)
class SplitsConfig:
    """Where each split comes from, for sources that keep splits apart (coco, blip, folder, huggingface, webdataset).

    Attributes:
        train: what becomes `train`: a JSON file (coco, blip), a folder (folder), the hub split (huggingface), or a glob
            of tar shards (webdataset), in which braces stand for numbers or names that must all be there, as in
            `train-{000..003}.tar`.
        val: the same for `val`.
        test: the same for `test`.
    """

    train: str | None = None
    val: str | None = None
    test: str | None = None

    @property
    def named(self) -> dict[Split, str]:
        """Where the splits that are named come from, in order."""
        found: dict[Split, str | None] = {"train": self.train, "val": self.val, "test": self.test}
        return {split: name for split, name in found.items() if name is not None}


@dataclass(frozen=True)
class DataConfig:
    """The real pairs.

    Attributes:
        source: `scenes` (embedded), `karpathy` (Karpathy's split files of Flickr8k, Flickr30k and COCO), `coco`
            (COCO captions), `blip` (JSON lists of image and caption, as BLIP and LoRS have them), `folder` (a text
            file beside each image), `llava_cc3m`, `table` (CSV, TSV, JSONL or Parquet), `huggingface` or `webdataset`.
        root: folder of the dataset (for huggingface: the hub name or a local folder). `scenes` needs none.
        annotations: the JSON or table file, relative to `root`; where each split has its own, `splits` names them.
        images: folder of the image files, relative to `root`; image paths may not leave it.
        columns: names of columns for `table`, `blip`, `huggingface` and `webdataset`.
        splits: where each split comes from, for sources that keep them apart.
        split: how images are divided where the data says nothing of splits, or has no `val` or `test`: `random 8:1:1`
            draws the shares of train, val and test among the images of `train`, which are all of them if there are no
            others; a share of 0 is for a split that is there. All captions and copies of an image stay together.
        split_seed: seed of that draw, and of the 3:1:1 split that `llava_cc3m` has without it.
        scenes: settings of the embedded benchmark.
        on_bad_pair: `error` stops before any work and lists every bad pair; `drop` leaves them out and reports them.
        captions: how captions are written before they are encoded. `plain` is lower case without any punctuation;
            `paper` is what the authors' code does: lower case without `.!"()*#:;~`, so that commas, hyphens and
            apostrophes stay. Both keep at most 30 words. `as_they_are` changes nothing.
        background: what transparent pixels are laid on: `white`, `black`, or a colour such as `#80ff00`.
        max_pixels: images with more pixels than this are refused as decompression bombs.
    """

    source: Source = "scenes"
    root: str | None = None
    annotations: str | None = None
    images: str = "."
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    splits: SplitsConfig = field(default_factory=SplitsConfig)
    split: str | None = None
    split_seed: int = 0
    scenes: ScenesConfig = field(default_factory=ScenesConfig)
    on_bad_pair: Literal["error", "drop"] = "error"
    captions: CaptionForm = "plain"
    background: str = "white"
    max_pixels: int = 89_478_485

    def __post_init__(self) -> None:
        require_positive("data", max_pixels=self.max_pixels)
        require(
            re.fullmatch(BACKGROUNDS, self.background) is not None,
            f"data.background is {self.background!r}; it must be white, black, or a colour such as '#80ff00'",
        )
        if self.source != "scenes":
            require(self.root is not None, f"data.source is {self.source}: set data.root to where the pairs are")
        if self.source in ("karpathy", "llava_cc3m", "table"):
            require(
                self.annotations is not None,
                f"data.source is {self.source}: set data.annotations to its file, relative to data.root",
            )
        require(
            self.split is None or (self.shares is not None and self.shares[0] > 0 and sum(self.shares[1:]) > 0),
            f"data.split is {self.split!r}; it must be like 'random 8:1:1', the shares of train, val and test, of "
            "which that of train and another one are above 0",
        )
        self._check_splits()

    @property
    def shares(self) -> tuple[int, int, int] | None:
        """The shares of train, val and test that `split` says."""
        found = _SHARES.fullmatch(self.split or "")
        return None if found is None else (int(found[1]), int(found[2]), int(found[3]))

    def _check_splits(self) -> None:
        """Refuse sources that do not say where each split comes from."""
        splits, everywhere = self.splits.named, "data.splits.train, data.splits.val and data.splits.test"
        if self.source in ("coco", "blip"):
            require(
                bool(splits) != (self.annotations is not None),
                f"data.source is {self.source}: set either {everywhere}, a file each, or data.annotations, one for all",
            )
            require(
                bool(splits) or self.source == "blip" or self.split is not None,
                "data.source is coco: one file of data.annotations says nothing of splits; set data.split, such as "
                f"'random 8:1:1', or {everywhere}",
            )
        if self.source in ("webdataset", "huggingface") or splits and self.source in ("coco", "blip", "folder"):
            alone = self.split is not None or (self.source == "huggingface" and list(splits) == ["train"])
            require(
                "train" in splits if alone else len(splits) == len(SPLITS),
                f"data.source is {self.source}: set {everywhere}; or data.splits.train and data.split, such as "
                "'random 8:1:1', if there is no other",
            )
        if splits and self.source in ("coco", "blip", "folder", "webdataset"):
            for name, share in zip(SPLITS, self.shares or (), strict=False):
                require(
                    share > 0 or name in splits,
                    f"{without_share(self.split, name)}, and data.splits.{name} is not set; {GIVE_SHARES}",
                )
