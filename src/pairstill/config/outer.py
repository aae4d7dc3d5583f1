"""Settings of the outer steps: how the pairs move, what is learned of similarities, how gradients are computed."""

from dataclasses import dataclass
from typing import Literal

from pairstill.config.changed import changed
from pairstill.config.checks import require, require_positive
from pairstill.config.encoders import ImageConfig
from pairstill.config.scales import require_scales, trials_of

Mode = Literal["exact_span", "exact_store", "exact_recompute", "truncated", "unrolled"]
Derivative = Literal["double_backward", "forward_over_reverse"]


@dataclass(frozen=True)
class OuterConfig:
    """The outer optimiser, which moves the distilled pairs.

    Attributes:
        optimizer: `adam` (betas 0.5, 0.9), `adamw`, whose pairs shrink a little in every step, or `sgd` (momentum 0.5,
            as in the paper).
        rate_unit: `relative` states rates in units of each variable's own scale, so that they carry over between
            encoders: the standard deviation of images and of texts, and each inner rate's value, where the steps begin;
            `absolute` takes them as they are.
        lr_images: rate of the image pixels.
        lr_texts: rate of the text embeddings.
        lr_similarity: rate of the similarity matrix (always absolute).
        lr_inner_lr: rate of the two learned inner rates.
        momentum: momentum of `sgd`.
        betas: betas of `adam` and `adamw`.
        weight_decay: of images and texts, by `adamw`: the share that a step takes off, in units of its rate.
    """

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    rate_unit: Literal["relative", "absolute"] = "relative"
    lr_images: float = 0.02
    lr_texts: float = 0.02
    lr_similarity: float = 0.008
    lr_inner_lr: float = 0.02
    momentum: float = 0.5
    betas: tuple[float, float] = (0.5, 0.9)
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        for name in ("lr_images", "lr_texts", "lr_similarity", "lr_inner_lr", "weight_decay"):
            require(getattr(self, name) >= 0, f"distill.outer.{name} is {getattr(self, name)}; it must not be negative")
        require(0 <= self.momentum < 1, f"distill.outer.momentum is {self.momentum}; it must be from 0 to below 1")
        require(
            all(0 <= beta < 1 for beta in self.betas),
            f"distill.outer.betas are {list(self.betas)}; each must be from 0 to below 1",
        )


@dataclass(frozen=True)
class SimilarityConfig:
    """The learned similarity matrix.

    Attributes:
        kind: `full` learns every entry; `low_rank` learns diag(w) + (scale / rank) L R^T (LoRS).
        rank: rank of L and R, for `low_rank`.
        scale: the factor before the product, for `low_rank`.
    """

    kind: Literal["full", "low_rank"] = "full"
    rank: int = 20
    scale: float = 1.0

    def __post_init__(self) -> None:
        require_positive("distill.similarity", rank=self.rank, scale=self.scale)


@dataclass(frozen=True)
class HypergradientConfig:
    """How the gradient through the inner loop is computed; the exact modes agree to rounding.

    Attributes:
        mode: `exact_span` follows linear heads behind a frozen tower in the span of the pairs (fastest by far, small);
            `exact_store` keeps every inner step's graph (fastest for others), `exact_recompute` one at a time (memory
            does not grow with the inner steps' activations), `truncated` takes earlier steps as constants, as the
            authors' code does (not exact), `unrolled` is plain backpropagation through the loop; `auto` takes
            `exact_span` where it is possible, else `exact_store` if its graphs are estimated to fit into `memory`,
            else `exact_recompute`.
        derivative: how `exact_recompute` and `truncated` differentiate an inner step: `double_backward` or
            `forward_over_reverse`, both exact, also where PyTorch lacks a formula (SiLU, GroupNorm, attention).
        memory: share of the device's whole memory that `auto` may fill with stored graphs.
        micro_batch: images of a mini-batch that go through a trained tower at a time, in both sweeps, for mini-batches
            that do not fit; exact, at the price of one more pass through the tower. Needs `exact_recompute`, which
            `auto` then takes, or `truncated`, by `double_backward`. Null takes all at once.
    """

    mode: Literal["auto", Mode] = "auto"
    derivative: Derivative = "double_backward"
    memory: float = 0.4
    micro_batch: int | None = None

    def __post_init__(self) -> None:
        if self.micro_batch is not None:
            require_positive("distill.hypergradient", micro_batch=self.micro_batch)
        require(0 < self.memory <= 1, f"distill.hypergradient.memory is {self.memory}; it must be in (0, 1]")

    def modes(self, *, trained: bool, linear: bool) -> tuple[Mode, ...]:
        """Return the modes that may be taken: one, or the faster and the smaller, between which memory decides.

        Options that contradict each other or the model are refused here, and nowhere else.

        Args:
            trained: whether the image tower is trained.
            linear: whether nothing but linear heads is trained.

        Raises:
            ConfigError: they do.
        """
        if self.micro_batch is not None:
            require(
                self.mode in ("auto", "exact_recompute", "truncated") and self.derivative == "double_backward",
                f"distill.hypergradient.micro_batch is set, but mode is {self.mode} and derivative is "
                f"{self.derivative}; it needs exact_recompute or truncated, and double_backward",
            )
            require(
                trained,
                "distill.hypergradient.micro_batch is set but the image tower is frozen: it does not run in the inner "
                "loop; leave micro_batch out",
            )
        require(
            self.mode != "exact_span" or linear,
            "distill.hypergradient.mode is exact_span, which needs a frozen image tower and heads.kind linear; "
            "leave the mode to auto",
        )
        if self.mode != "auto":
            return (self.mode,)
        if linear:
            return ("exact_span",)
        return ("exact_store", "exact_recompute") if self.micro_batch is None else ("exact_recompute",)


@dataclass(frozen=True)
class RateTrialsConfig:
    """Short distillations that choose the rates of the whole one, by the validation recall of one student each.

    Attributes:
        steps: outer steps of each, on the pairs of the first phase: on features where there is a warm start, before one
            step on the pixels that have them, else on pixels. 0 tries nothing.
        scales: what the outer rates are multiplied with, and then, where inner rates are learned, the initial inner
            rates of both sides; 1 is always tried. Every method has these trials and no more.
    """

    steps: int = 0
    scales: tuple[float, ...] = (0.3, 1.0, 3.0)

    def __post_init__(self) -> None:
        require(self.steps >= 0, f"distill.rate_trials.steps is {self.steps}; it must not be negative")
        require_scales("distill.rate_trials.scales", self.scales)

    def count(self, kinds: int = 2) -> int:
        """Return how many short distillations there are for so many kinds of rates: outer ones, and inner ones.

        Example:
            >>> RateTrialsConfig(steps=9).count()
            5
        """
        return trials_of(self.scales, kinds) if self.steps else 0


@dataclass(frozen=True)
class FeaturesFirstConfig:
    """A warm start behind a frozen tower: distil features, then find pixels that have them, then go on with pixels.

    Attributes:
        steps: outer steps on features, which leave the tower out; 0 starts with pixels at once.
        lr_features: outer rate of the features, in units of their initial standard deviation.
        in_range: keep each feature, after every step, within what the training images have; features that no image has
            cannot be found again as pixels.
        inversion_steps: steps of Adam that find the pixels, from the initial images; each image by itself.
        lr_pixels: its rate, in units of the images' initial standard deviation.
        smoothness: weight of the roughness of the change, the mean square of differences between neighbouring pixels,
            against the relative square error of the features. Differences are those of the space that the images are
            in: in the common one of several towers, pixels in [0, 1], the same change weighs the square of `std` times
            what it does in the space of a single tower, a quarter where `std` is 0.5.
        rate_after: outer rate of the pixels in the steps that follow, in units of `outer.lr_images`: full steps would
            undo what was found. Where `outer.rate_unit` is relative, the scales of these steps are those of what the
            warm start has left, of texts and inner rates too: an inner rate that has become small keeps small steps,
            which do not take it below 0.
    """

    steps: int = 0
    lr_features: float = 0.01
    in_range: bool = changed(True, before=False)
    inversion_steps: int = 150
    lr_pixels: float = 0.02
    smoothness: float = 0.1
    rate_after: float = changed(0.1, before=1.0)

    def __post_init__(self) -> None:
        require(self.steps >= 0, f"distill.features_first.steps is {self.steps}; it must not be negative")
        require(
            self.smoothness >= 0, f"distill.features_first.smoothness is {self.smoothness}; it must not be negative"
        )
        require_positive(
            "distill.features_first",
            lr_features=self.lr_features,
            inversion_steps=self.inversion_steps,
            rate_after=self.rate_after,
            lr_pixels=self.lr_pixels,
        )

    def check_in(self, image: ImageConfig) -> None:
        """Refuse a warm start where the image tower is trained.

        Raises:
            ConfigError: it is.
        """
        require(
            not (image.trains and self.steps),
            "distill.features_first.steps is set but the image tower is trained: its features change while it learns; "
            "set image.trainable to false, or leave features_first out",
        )
