"""Settings of the two towers and the heads on them."""

from dataclasses import dataclass
from typing import Literal

from pairstill.config.checks import require, require_positive
from pairstill.config.roles import setting

LEAST_STD = 1e-6
"""What pixels may be divided by at least: single precision does not hold what is a million times as large."""


@dataclass(frozen=True)
class ImageConfig:
    """The image tower.

    Attributes:
        name: `nf_resnet_tiny` (embedded, no weights needed), `mobilenetv1_075`, any timm model by name, or, frozen, the
            image side of a CLIP or SigLIP checkpoint by hub name (OWNER/NAME) or local folder, or of one of open_clip's
            as `open_clip:ARCHITECTURE/WEIGHTS`, `open_clip:OWNER/NAME` or `open_clip:FOLDER` (extra `open_clip`).
        pretrained: fetch the weights that timm knows for this name from the hub.
        weights: a local safetensors file with the tower's weights, instead of `pretrained`.
        trainable: train the tower (the paper's main protocol); otherwise it is frozen and only the heads learn.
        last_stages: of a trained tower, how many of its last stages train; what is before them is frozen, and real
            images are kept as it gives them. Stages are timm's (`feature_info`); 0 trains none, null all of the tower.
        size: side of the square input in pixels; null takes the encoder's own.
        mean: per-channel mean of the input normalisation; null takes the encoder's own.
        std: per-channel standard deviation of the input normalisation; null takes the encoder's own.
        init_seed: seed of the tower's initial weights when it has no pretrained ones; teachers and students share them.
        precision: what a trained tower multiplies in: `float32`; or on GPUs `tf32` (convolutions) or
            `bfloat16` (autocast). Parameters, heads, losses and the sums of the hypergradient stay in float32.
        features: a file with the features of all images, for a frozen tower, which then encodes no real image;
            `pairstill prepare --features_out` writes one. The tower is needed all the same, for distilled images.
        projection: whether a dual encoder's features are those behind its projection into the shared space.
    """

    name: str = "nf_resnet_tiny"
    pretrained: bool = False
    weights: str | None = None
    trainable: bool = setting(True, role="model")
    last_stages: int | None = setting(None, role="model")
    size: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    init_seed: int = 0
    precision: Literal["float32", "tf32", "bfloat16"] = setting("float32", role="model")
    features: str | None = None
    projection: bool = True

    def __post_init__(self) -> None:
        require(
            self.last_stages is None or (self.trainable and self.last_stages >= 0),
            f"image.last_stages is {self.last_stages}: how many stages of a trained tower train, 0 or more; set "
            "image.trainable to true, or leave image.last_stages out",
        )
        require(
            not (self.trains and self.features is not None),
            "image.features is set but the image tower is trained: its features change while it learns; set "
            "image.trainable to false, or leave image.features out",
        )
        require(
            self.trains or self.precision == "float32",
            f"image.precision is {self.precision} but the image tower is frozen: its features are computed once, and "
            "kept in float32; leave image.precision out",
        )
        require(
            not (self.pretrained and self.weights is not None),
            "image.pretrained and image.weights are both set; use one of them",
        )
        if self.size is not None:
            require_positive("image", size=self.size)
        require(
            self.std is None or all(LEAST_STD <= value <= 1 / LEAST_STD for value in self.std),
            f"image.std is {list(self.std or ())}; pixels are divided by it: each value must be above 0, from "
            f"{LEAST_STD:g} to {1 / LEAST_STD:g}",
        )
        require(
            self.mean is None or not any(abs(value) > 1 / LEAST_STD for value in self.mean),
            f"image.mean is {list(self.mean or ())}; it is taken from pixels between 0 and 1: no value may be beyond "
            f"{1 / LEAST_STD:g}",
        )

    @property
    def trains(self) -> bool:
        """Whether the tower trains, or some of it."""
        return self.trainable and self.last_stages != 0

    @property
    def sees_features(self) -> bool:
        """Whether what trains is given features: those of a frozen tower, or of its frozen stages."""
        return not self.trainable or self.last_stages is not None


@dataclass(frozen=True)
class TowerConfig:
    """A further frozen image tower that the pairs are made for, beside `image`; its settings are those of `image`.

    Attributes:
        name: `nf_resnet_tiny`, `mobilenetv1_075`, or any timm model by name.
        pretrained: fetch the weights that timm knows for this name from the hub.
        weights: a local safetensors file with the tower's weights, instead of `pretrained`.
        size: side of the square input in pixels; null takes the encoder's own.
        mean: per-channel mean of the input normalisation; null takes the encoder's own.
        std: per-channel standard deviation of the input normalisation; null takes the encoder's own.
        init_seed: seed of the tower's weights when it has no pretrained ones.
        features: a file with the features of all images.
    """

    name: str = ImageConfig.name
    pretrained: bool = False
    weights: str | None = None
    size: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    init_seed: int = 0
    features: str | None = None

    def __post_init__(self) -> None:
        _ = self.image  # which refuses what no image tower may have

    @property
    def image(self) -> ImageConfig:
        """The settings of a run with this tower alone."""
        return ImageConfig(trainable=False, **vars(self))


@dataclass(frozen=True)
class TextConfig:
    """The text tower, always frozen.

    Attributes:
        name: `hashed_ngrams` (embedded, no weights needed), `minilm` (extra `minilm`, works offline), any
            transformers model of text by hub name or local folder (of T5 and its like the encoder alone), the text side
            of a dual encoder (as `image.name`), or `precomputed`, which reads embeddings from `file`.
        pooling: `cls` (the first token), `mean` (over the tokens of the caption) or `last` (the last token, for models
            that read from left to right); only for transformers models; dual encoders have a pooling of their own.
        max_tokens: captions are cut after this many tokens.
        width: width of the `hashed_ngrams` embedding; other encoders have their own.
        file: the embeddings of all captions, for `precomputed`; `pairstill prepare --texts_out` writes one.
        projection: whether a dual encoder's embeddings are those behind its projection into the shared space.
    """

    name: str = "hashed_ngrams"
    pooling: Literal["cls", "mean", "last"] = "cls"
    max_tokens: int = 64
    width: int = 128
    file: str | None = None
    projection: bool = True

    def __post_init__(self) -> None:
        require(
            (self.name == "precomputed") == (self.file is not None),
            f"text.name is {self.name!r} and text.file is {self.file!r}: precomputed embeddings need a file, and no "
            "other encoder takes one",
        )
        require_positive("text", max_tokens=self.max_tokens, width=self.width)


@dataclass(frozen=True)
class HeadsConfig:
    """The trainable projection heads.

    Attributes:
        kind: `residual` is the paper's LayerNorm(h + Dropout(W2 GELU(h))) with h = W1 x; `linear` is W1 x alone.
        image: whether the image side has a head; required when the image tower is frozen.
        width: width of the shared space; null takes the image tower's width (only without an image head).
        dropout: probability of the dropout inside a residual head.
    """

    kind: Literal["residual", "linear"] = "residual"
    image: bool = False
    width: int | None = None
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require(0 <= self.dropout < 1, f"heads.dropout is {self.dropout}; it must be in [0, 1)")
        if self.image:
            require(self.width is not None, "heads.image is on: set heads.width")
        if self.width is not None:
            require_positive("heads", width=self.width)
