"""Settings of the real pairs."""

from dataclasses import dataclass, field
from typing import Literal

from pairstill.config.checks import require, require_positive

MAX_CAPTION_WORDS = 30
CaptionForm = Literal["plain", "paper", "as_they_are"]


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
        split: column that names the split; not used by huggingface and webdataset when `data.splits` names them.
    """

    image: str = "image"
    caption: str = "caption"
    split: str = "split"


@dataclass(frozen=True)
class SplitsConfig:
    """Where each split comes from, for sources that keep splits apart (huggingface, webdataset).

    Attributes:
        train: name of the hub split, or glob of the tar shards, that becomes `train`; braces stand for numbers or
            names that must all be there, as in `train-{000..003}.tar`.
        val: the same for `val`.
        test: the same for `test`.
    """

    train: str | None = None
    val: str | None = None
    test: str | None = None


@dataclass(frozen=True)
class DataConfig:
    """The real pairs.

    Attributes:
        source: `scenes` (embedded), `karpathy` (Flickr8k, Flickr30k, COCO split files), `llava_cc3m`,
            `table` (CSV, JSONL or Parquet), `huggingface` or `webdataset`.
        root: folder of the dataset (for huggingface: the hub name or a local folder). `scenes` needs none.
        annotations: the JSON or table file, relative to `root`.
        images: folder of the image files, relative to `root`; image paths may not leave it.
        columns: names of columns for `table`, `huggingface` and `webdataset`.
        splits: where each split comes from, for `huggingface` and `webdataset`.
        scenes: settings of the embedded benchmark.
        split_seed: seed of the random 3:1:1 split of `llava_cc3m`.
        on_bad_pair: `error` stops before any work and lists every bad pair; `drop` leaves them out and reports them.
        captions: how captions are written before they are encoded. `plain` is lower case without any punctuation;
            `paper` is what the authors' code does: lower case without `.!"()*#:;~`, so that commas, hyphens and
            apostrophes stay. Both keep at most 30 words. `as_they_are` changes nothing.
        max_pixels: images with more pixels than this are refused as decompression bombs.
    """

    source: Literal["scenes", "karpathy", "llava_cc3m", "table", "huggingface", "webdataset"] = "scenes"
    root: str | None = None
    annotations: str | None = None
    images: str = "."
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    splits: SplitsConfig = field(default_factory=SplitsConfig)
    scenes: ScenesConfig = field(default_factory=ScenesConfig)
    split_seed: int = 0
    on_bad_pair: Literal["error", "drop"] = "error"
    captions: CaptionForm = "plain"
    max_pixels: int = 89_478_485

    def __post_init__(self) -> None:
        require_positive("data", max_pixels=self.max_pixels)
        if self.source != "scenes":
            require(self.root is not None, f"data.source is {self.source}: set data.root to where the pairs are")
        if self.source in ("karpathy", "llava_cc3m", "table"):
            require(
                self.annotations is not None,
                f"data.source is {self.source}: set data.annotations to its file, relative to data.root",
            )
        if self.source in ("huggingface", "webdataset"):
            named = (self.splits.train, self.splits.val, self.splits.test)
            require(
                None not in named,
                f"data.source is {self.source}: set data.splits.train, data.splits.val and data.splits.test",
            )
