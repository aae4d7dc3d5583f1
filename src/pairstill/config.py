"""Every setting of a run, as frozen dataclasses that check themselves; imports nothing heavy.

A run is described by one `RunConfig`. Each part is passed on as the smallest piece that is needed.
Rates and sizes default to the embedded benchmark (`scenes`); `configs/` holds the others.
"""

from dataclasses import dataclass, field
from typing import Literal

from pairstill.errors import ConfigError

MAX_CAPTION_WORDS = 30

Protocol = Literal["strict", "paper"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _require_positive(owner: str, **values: float) -> None:
    for name, value in values.items():
        _require(value > 0, f"{owner}.{name} is {value}; it must be above 0")


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
        _require_positive("data.scenes", train=self.train, val=self.val, test=self.test)
        _require(self.size >= 16, f"data.scenes.size is {self.size}; shapes need at least 16 pixels")


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
        train: name of the hub split, or glob of the tar shards, that becomes `train`.
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
        normalise_captions: lower-case, strip punctuation and keep at most 30 words, as the paper's code does.
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
    normalise_captions: bool = True
    max_pixels: int = 89_478_485

    def __post_init__(self) -> None:
        _require_positive("data", max_pixels=self.max_pixels)
        if self.source != "scenes":
            _require(self.root is not None, f"data.source is {self.source}: set data.root to where the pairs are")
        if self.source in ("karpathy", "llava_cc3m", "table"):
            _require(
                self.annotations is not None,
                f"data.source is {self.source}: set data.annotations to its file, relative to data.root",
            )
        if self.source in ("huggingface", "webdataset"):
            named = (self.splits.train, self.splits.val, self.splits.test)
            _require(
                None not in named,
                f"data.source is {self.source}: set data.splits.train, data.splits.val and data.splits.test",
            )


@dataclass(frozen=True)
class ImageConfig:
    """The image tower.

    Attributes:
        name: `nf_resnet_tiny` (embedded, no weights needed), `mobilenetv1_075`, or any timm model by name.
        pretrained: fetch the weights that timm knows for this name from the hub.
        weights: a local safetensors file with the tower's weights, instead of `pretrained`.
        trainable: train the tower (the paper's main protocol); otherwise it is frozen and only the heads learn.
        size: side of the square input in pixels; null takes the encoder's own.
        mean: per-channel mean of the input normalisation; null takes the encoder's own.
        std: per-channel standard deviation of the input normalisation; null takes the encoder's own.
        init_seed: seed of the tower's initial weights when it has no pretrained ones; teachers and students share them.
        precision: what a trained tower multiplies in: `float32`; or on GPUs `tf32` or `bfloat16`
            (autocast). Parameters, heads, losses and the sums of the hypergradient stay in float32.
    """

    name: str = "nf_resnet_tiny"
    pretrained: bool = False
    weights: str | None = None
    trainable: bool = True
    size: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    init_seed: int = 0
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        _require(
            self.trainable or self.precision == "float32",
            f"image.precision is {self.precision} but the image tower is frozen: its features are computed once, and "
            "kept in float32; leave image.precision out",
        )
        _require(
            not (self.pretrained and self.weights is not None),
            "image.pretrained and image.weights are both set; use one of them",
        )
        if self.size is not None:
            _require_positive("image", size=self.size)


@dataclass(frozen=True)
class TextConfig:
    """The text tower, always frozen.

    Attributes:
        name: `hashed_ngrams` (embedded, no weights needed), `minilm` (extra `minilm`, works offline), or any
            transformers encoder by hub name or local folder.
        pooling: `cls` (the first token) or `mean` (over the tokens of the caption); only for transformers encoders.
        max_tokens: captions are cut after this many tokens.
        width: width of the `hashed_ngrams` embedding; other encoders have their own.
    """

    name: str = "hashed_ngrams"
    pooling: Literal["cls", "mean"] = "cls"
    max_tokens: int = 64
    width: int = 128

    def __post_init__(self) -> None:
        _require_positive("text", max_tokens=self.max_tokens, width=self.width)


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
        _require(0 <= self.dropout < 1, f"heads.dropout is {self.dropout}; it must be in [0, 1)")
        if self.image:
            _require(self.width is not None, "heads.image is on: set heads.width")
        if self.width is not None:
            _require_positive("heads", width=self.width)


@dataclass(frozen=True)
class TeacherConfig:
    """Training of the teachers, whose parameters after every epoch are the expert trajectories.

    Attributes:
        num_experts: number of independent teachers.
        epochs: epochs of each teacher; the last snapshot has this number.
        batch_size: pairs in a mini-batch.
        lr_image: learning rate of the image side (the tower and its head, as far as they are trained).
        lr_text: learning rate of the text head.
        momentum: momentum of SGD; the paper's text says 0.9, its authors' trajectories were made with 0.
        weight_decay: weight decay of SGD; the paper's text says 5e-4, its authors' trajectories were made with 0.
        captions: `all` visits every caption in an epoch, `sample` every image once with a random caption.
        augment: `paper` is random resized crop 0.5-1, flip and RandAugment(2, 5); needs a trainable tower.
        keep: `endpoints` stores only the snapshots that the phases need, `all` every epoch.
    """

    num_experts: int = 2
    epochs: int = 8
    batch_size: int = 64
    lr_image: float = 0.1
    lr_text: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    captions: Literal["all", "sample"] = "sample"
    augment: Literal["none", "paper"] = "none"
    keep: Literal["endpoints", "all"] = "endpoints"

    def __post_init__(self) -> None:
        _require_positive(
            "teacher",
            num_experts=self.num_experts,
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr_image=self.lr_image,
            lr_text=self.lr_text,
        )
        _require(0 <= self.momentum < 1, f"teacher.momentum is {self.momentum}; it must be in [0, 1)")
        _require(self.weight_decay >= 0, f"teacher.weight_decay is {self.weight_decay}; it must not be negative")
        _require(self.batch_size >= 2, "teacher.batch_size is 1; a contrastive loss needs at least 2 pairs")


@dataclass(frozen=True)
class PhaseConfig:
    """One phase: a subset of distilled pairs and the stretch of the teachers that it learns.

    Attributes:
        num_pairs: distilled pairs in this phase (N_p).
        outer_steps: updates of the distilled pairs (I_p).
        range_start: first start epoch that may be drawn (T_p^-).
        range_end: last start epoch that may be drawn (T_p^+).
        endpoint: epoch of the snapshot that the shortcut ends at (t_p).
    """

    num_pairs: int = 99
    outer_steps: int = 120
    range_start: int = 0
    range_end: int = 2
    endpoint: int = 6

    def __post_init__(self) -> None:
        _require_positive("phase", num_pairs=self.num_pairs, outer_steps=self.outer_steps, endpoint=self.endpoint)
        _require(
            0 <= self.range_start <= self.range_end,
            f"phase range is {self.range_start}..{self.range_end}; it needs 0 <= range_start <= range_end",
        )


@dataclass(frozen=True)
class AutoPhasesConfig:
    """Phases that set themselves, by what the teachers show on training and validation pairs (docs/auto_phases.md).

    Attributes:
        max_phases: at most so many phases.
        min_pairs: at least so many distilled pairs in a phase, unless there are fewer in all; the paper's smallest
            phase has 99.
        gain_left: a start counts while more than this share of the teachers' gain in validation recall lies ahead.
        min_agreement: least cosine between the gradients of two start epochs of a phase, from -1 to 1.
        teachers: teachers that are measured, the first ones.
        repeats: stretches that are averaged for the gradient of a start epoch.
    """

    max_phases: int = 3
    min_pairs: int = 99
    gain_left: float = 0.05
    min_agreement: float = 0.0
    teachers: int = 4
    repeats: int = 8

    def __post_init__(self) -> None:
        _require_positive(
            "distill.auto_phases",
            max_phases=self.max_phases,
            min_pairs=self.min_pairs,
            teachers=self.teachers,
            repeats=self.repeats,
        )
        _require(
            0 <= self.gain_left < 1, f"distill.auto_phases.gain_left is {self.gain_left}; it is a share, from 0 below 1"
        )
        _require(
            -1 <= self.min_agreement <= 1,
            f"distill.auto_phases.min_agreement is {self.min_agreement}; it is a cosine, from -1 to 1",
        )


@dataclass(frozen=True)
class OuterConfig:
    """The outer optimiser, which moves the distilled pairs.

    Attributes:
        optimizer: `adam` (betas 0.5, 0.9) or `sgd` (momentum 0.5, as in the paper).
        rate_unit: `relative` states rates in units of each variable's own scale, so that they carry over between
            encoders: the initial standard deviation of images and of texts, and each inner rate's initial value;
            `absolute` takes them as they are.
        lr_images: rate of the image pixels.
        lr_texts: rate of the text embeddings.
        lr_similarity: rate of the similarity matrix (always absolute).
        lr_inner_lr: rate of the two learned inner rates.
        momentum: momentum of `sgd`.
        betas: betas of `adam`.
    """

    optimizer: Literal["adam", "sgd"] = "adam"
    rate_unit: Literal["relative", "absolute"] = "relative"
    lr_images: float = 0.02
    lr_texts: float = 0.02
    lr_similarity: float = 0.008
    lr_inner_lr: float = 0.02
    momentum: float = 0.5
    betas: tuple[float, float] = (0.5, 0.9)

    def __post_init__(self) -> None:
        for name in ("lr_images", "lr_texts", "lr_similarity", "lr_inner_lr"):
            _require(getattr(self, name) >= 0, f"distill.outer.{name} must not be negative")


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
        _require_positive("distill.similarity", rank=self.rank, scale=self.scale)


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
            `forward_over_reverse`, both exact.
        memory: share of the device's whole memory that `auto` may fill with stored graphs.
        micro_batch: images of a mini-batch that go through a trained tower at a time, in both sweeps, for mini-batches
            that do not fit; exact, at the price of one more pass through the tower. Needs `exact_recompute`, which
            `auto` then takes, or `truncated`, by `double_backward`. Null takes all at once.
    """

    mode: Literal["auto", "exact_span", "exact_store", "exact_recompute", "truncated", "unrolled"] = "auto"
    derivative: Literal["double_backward", "forward_over_reverse"] = "double_backward"
    memory: float = 0.4
    micro_batch: int | None = None

    def __post_init__(self) -> None:
        if self.micro_batch is not None:
            _require_positive("distill.hypergradient", micro_batch=self.micro_batch)
            _require(
                self.mode in ("auto", "exact_recompute", "truncated") and self.derivative == "double_backward",
                f"distill.hypergradient.micro_batch is set, but mode is {self.mode} and derivative is "
                f"{self.derivative}; it needs exact_recompute or truncated, and double_backward",
            )
        _require(0 < self.memory <= 1, f"distill.hypergradient.memory is {self.memory}; it must be in (0, 1]")


@dataclass(frozen=True)
class FeaturesFirstConfig:
    """A warm start behind a frozen tower: distil features, then find pixels that have them, then go on with pixels.

    Attributes:
        steps: outer steps on features, which leave the tower out; 0 starts with pixels at once.
        lr_features: outer rate of the features, in units of their initial standard deviation.
        inversion_steps: steps of Adam that find the pixels, from the initial images; each image by itself.
        lr_pixels: its rate, in units of the images' initial standard deviation.
        smoothness: weight of the roughness of the change, the mean square of differences between neighbouring pixels,
            against the relative square error of the features.
    """

    steps: int = 0
    lr_features: float = 0.01
    inversion_steps: int = 150
    lr_pixels: float = 0.02
    smoothness: float = 0.1

    def __post_init__(self) -> None:
        _require(self.steps >= 0, f"distill.features_first.steps is {self.steps}; it must not be negative")
        _require(
            self.smoothness >= 0, f"distill.features_first.smoothness is {self.smoothness}; it must not be negative"
        )
        _require_positive(
            "distill.features_first",
            lr_features=self.lr_features,
            inversion_steps=self.inversion_steps,
            lr_pixels=self.lr_pixels,
        )


@dataclass(frozen=True)
class ProjectorConfig:
    """The objective `projector` (APM): the closed-form projector of the distilled pairs should be the real ones'.

    Attributes:
        ridge: added to the diagonals of the covariances, in units of their mean.
        weight: weight of the square distance between the projectors, relative to the real one's square norm.
        temperature: of the softened similarities that are distilled.
        batch_size: real pairs in a mini-batch.
    """

    ridge: float = 0.05
    weight: float = 0.01
    temperature: float = 10.0
    batch_size: int = 256

    def __post_init__(self) -> None:
        _require_positive(
            "distill.projector", ridge=self.ridge, temperature=self.temperature, batch_size=self.batch_size
        )
        _require(self.weight >= 0, f"distill.projector.weight is {self.weight}; it must not be negative")


@dataclass(frozen=True)
class CharacteristicConfig:
    """The objective `characteristic` (NCFM): clusters of distilled pairs should be distributed as those of real pairs.

    Attributes:
        clusters: clusters of the real pairs' joint features, which stand for classes; at most one for each pair.
        frequencies: frequencies at which characteristic functions are compared, drawn anew in every step.
        alpha: weight of the amplitudes; the phases have the rest.
        batch_size: real pairs of each cluster in a step.
        lr_sampler: rate at which the scales of the frequencies go where the difference grows; 0 keeps them at one.
    """

    clusters: int = 10
    frequencies: int = 512
    alpha: float = 0.5
    batch_size: int = 64
    lr_sampler: float = 0.01

    def __post_init__(self) -> None:
        _require_positive(
            "distill.characteristic",
            clusters=self.clusters,
            frequencies=self.frequencies,
            batch_size=self.batch_size,
        )
        _require(0 <= self.alpha <= 1, f"distill.characteristic.alpha is {self.alpha}; it must be in [0, 1]")
        _require(
            self.lr_sampler >= 0, f"distill.characteristic.lr_sampler is {self.lr_sampler}; it must not be negative"
        )


@dataclass(frozen=True)
class DistillConfig:
    """The distillation; switching `phased`, `shortcut` and `ema` off gives the rows of the paper's Table 4.

    Attributes:
        objective: what the pairs are distilled for: `trajectory` matches teachers' trajectories; `projector` and
            `characteristic` compare statistics of the pairs with those of the real ones, and learn neither similarities
            nor inner rates.
        phases: the phases in order; with `phased` off there must be exactly one.
        auto_phases: phases that set themselves: all pairs and outer steps of `phases` are shared out anew, and ranges
            and endpoints chosen, once the teachers are there; null takes `phases` as they are.
        phased: phased teacher models (PTM).
        shortcut: match shortcut trajectories (ST) instead of the recorded ones.
        ema: keep the exponential moving average of everything learned (Eq. 7) instead of the last values.
        ema_decay: decay of that average (0.99 in the paper, whose phases take 2,000 steps).
        range_reading: `inclusive` lets start epochs reach `range_end`; `exclusive` stops one before it,
            as the authors' code does.
        start_sampling: `epochs` starts at whole epochs, `continuous` anywhere between them on a shortcut (MCT).
        range_growth: share of the outer steps over which the last start epoch grows from `range_start` to `range_end`
            (DATM); 0 has the whole range from the start.
        matching_span: epochs from start to target.
        inner_steps: SGD steps on distilled pairs between start and target.
        trajectories_per_step: starts (expert and epoch) whose hypergradients are averaged in an outer step (1 in the
            paper); with a frozen tower more of them cost little, since the tower still runs once. Under torchrun, this
            many over all processes, each of which takes as many as the others.
        batch_size: distilled pairs in a mini-batch of the inner loop.
        lr_image: initial inner rate of the image side; null takes the teachers'.
        lr_text: initial inner rate of the text side; null takes the teachers'.
        loss: loss of the inner loop and of the students, `wbce` (with learned similarities) or `infonce` (none).
        blend: every inner step trains on pairs that are mixed with others of the mini-batch, features and text
            embeddings alike, by a share drawn anew (RepBlend); needs a frozen image tower. Students are not blended.
        matching: `per_tower` adds one ratio per tower, `joint` is one ratio over all parameters.
        init: `real` starts from real pairs drawn at random, `noise` from Gaussian noise of the same moments.
        features_first: a warm start for frozen towers.
        projector: settings of the objective `projector`.
        characteristic: settings of the objective `characteristic`.
        similarity: the learned similarity matrix.
        outer: the outer optimiser.
        hypergradient: how its gradient is computed.
        checkpoint_every: outer steps between checkpoints.
        validate_every: outer steps between validations of a student on the pairs so far; 0 never validates.
        patience: stop a phase after this many validations without a better recall, and keep the best;
            0 always goes to the end and keeps the last.
    """

    objective: Literal["trajectory", "projector", "characteristic"] = "trajectory"
    phases: tuple[PhaseConfig, ...] = (PhaseConfig(),)
    auto_phases: AutoPhasesConfig | None = None
    phased: bool = True
    shortcut: bool = True
    ema: bool = True
    ema_decay: float = 0.9
    range_reading: Literal["inclusive", "exclusive"] = "inclusive"
    start_sampling: Literal["epochs", "continuous"] = "epochs"
    range_growth: float = 0.0
    matching_span: int = 1
    inner_steps: int = 8
    trajectories_per_step: int = 1
    batch_size: int = 20
    lr_image: float | None = None
    lr_text: float | None = None
    loss: Literal["wbce", "infonce"] = "wbce"
    blend: bool = False
    matching: Literal["per_tower", "joint"] = "per_tower"
    init: Literal["real", "noise"] = "real"
    features_first: FeaturesFirstConfig = field(default_factory=FeaturesFirstConfig)
    projector: ProjectorConfig = field(default_factory=ProjectorConfig)
    characteristic: CharacteristicConfig = field(default_factory=CharacteristicConfig)
    similarity: SimilarityConfig = field(default_factory=SimilarityConfig)
    outer: OuterConfig = field(default_factory=OuterConfig)
    hypergradient: HypergradientConfig = field(default_factory=HypergradientConfig)
    checkpoint_every: int = 25
    validate_every: int = 0
    patience: int = 0

    def __post_init__(self) -> None:
        _require(len(self.phases) > 0, "distill.phases is empty; give at least one phase")
        _require(
            self.phased or len(self.phases) == 1,
            f"distill.phased is off but distill.phases has {len(self.phases)}; keep one phase",
        )
        _require(
            self.shortcut or self.start_sampling == "epochs",
            "distill.start_sampling is continuous but distill.shortcut is off: only a shortcut has points "
            "between epochs",
        )
        _require(
            self.auto_phases is None or (self.shortcut and self.objective == "trajectory"),
            "distill.auto_phases chooses start epochs and endpoints of shortcuts, but "
            + ("distill.shortcut is off" if not self.shortcut else f"distill.objective is {self.objective}")
            + "; leave auto_phases out",
        )
        _require(
            0 <= self.range_growth <= 1, f"distill.range_growth is {self.range_growth}; it is a share, from 0 to 1"
        )
        _require(
            self.objective == "trajectory" or self.loss == "infonce",
            f"distill.objective is {self.objective}, which learns no similarities: set distill.loss to infonce",
        )
        _require(0 <= self.ema_decay < 1, f"distill.ema_decay is {self.ema_decay}; it must be in [0, 1)")
        _require_positive(
            "distill",
            matching_span=self.matching_span,
            inner_steps=self.inner_steps,
            trajectories_per_step=self.trajectories_per_step,
            checkpoint_every=self.checkpoint_every,
        )
        _require(self.batch_size >= 2, f"distill.batch_size is {self.batch_size}; it must be at least 2")
        _require(self.validate_every >= 0 and self.patience >= 0, "distill.validate_every and patience start at 0")
        _require(
            self.patience == 0 or self.validate_every > 0,
            "distill.patience is set but distill.validate_every is 0; set how often to validate",
        )
        if self.auto_phases is None:
            for number, phase in enumerate(self.phases, start=1):
                self._check_phase(number, phase)

    def _check_phase(self, number: int, phase: PhaseConfig) -> None:
        last = self.last_start(phase)
        _require(
            last >= phase.range_start,
            f"phase {number}: the range {phase.range_start}..{phase.range_end} read as "
            f"{self.range_reading} holds no start epoch",
        )
        _require(
            last + self.matching_span <= phase.endpoint or not self.shortcut,
            f"phase {number}: a start at epoch {last} with matching_span {self.matching_span} goes past the "
            f"endpoint {phase.endpoint}; lower range_end or raise endpoint",
        )

    def last_start(self, phase: PhaseConfig) -> int:
        """Return the last start epoch that `phase` may draw under `range_reading`."""
        return phase.range_end if self.range_reading == "inclusive" else phase.range_end - 1

    @property
    def num_pairs(self) -> int:
        """Distilled pairs over all phases."""
        return sum(phase.num_pairs for phase in self.phases)


@dataclass(frozen=True)
class StudentConfig:
    """Training of a student on the distilled pairs, phase after phase.

    Attributes:
        epochs: epochs on each phase (50 in the paper; the authors' code uses 100).
        batch_size: pairs in a mini-batch; null takes the inner loop's, which the distilled pairs were made for
            (the paper uses 128 whatever the inner loop has). Random pairs use `teacher.batch_size`.
        momentum: momentum of SGD.
        weight_decay: weight decay of SGD.
        validate_every: epochs between validations; the last epoch of a phase is always validated.
    """

    epochs: int = 50
    batch_size: int | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    validate_every: int = 1

    def __post_init__(self) -> None:
        _require_positive("student", epochs=self.epochs, validate_every=self.validate_every)
        if self.batch_size is not None:
            _require(self.batch_size >= 2, f"student.batch_size is {self.batch_size}; it must be at least 2")
        _require(0 <= self.momentum < 1, f"student.momentum is {self.momentum}; it must be in [0, 1)")


@dataclass(frozen=True)
class ReferencesConfig:
    """The two references of every table: random real pairs, and all of them.

    Attributes:
        rate_scales: both references try the teachers' rates times each of these; validation chooses.
        momentum: momentum of SGD on all pairs (random pairs use the students').
        weight_decay: weight decay of SGD on all pairs.
        random_pairs: number of random real pairs; null takes as many as the distilled set's budget.
        full_epochs: epochs on all pairs; null takes the teachers'.
    """

    rate_scales: tuple[float, ...] = (0.1, 0.3, 1.0)
    momentum: float = 0.9
    weight_decay: float = 5e-4
    random_pairs: int | None = None
    full_epochs: int | None = 12

    def __post_init__(self) -> None:
        _require(len(self.rate_scales) > 0, "evaluate.references.rate_scales is empty; give at least one scale")
        _require(all(s > 0 for s in self.rate_scales), "evaluate.references.rate_scales must all be above 0")


@dataclass(frozen=True)
class CrossConfig:
    """Students with other encoders than those that the pairs were distilled for.

    Attributes:
        rate_scales: a side with another encoder tries its learned rates times each of these, beside 1, and validation
            chooses.
        ridge: strength of the regression that maps text embeddings to another encoder's, in units of their variance.
    """

    rate_scales: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    ridge: float = 0.01

    def __post_init__(self) -> None:
        _require(all(s > 0 for s in self.rate_scales), "evaluate.cross.rate_scales must all be above 0")
        _require_positive("evaluate.cross", ridge=self.ridge)


@dataclass(frozen=True)
class EvaluateConfig:
    """What is measured, and how.

    Attributes:
        protocol: `strict` chooses the epoch on the validation split and reads the test split once;
            `paper` reports the best epoch on the test split, which is optimistic, to compare with published tables;
            `both` trains every student once and reports it both ways, so that the optimism can be seen.
        num_students: students per method, each with its own seed.
        methods: which rows to measure; `closed_form` is the student that APM means, whose linear heads are solved from
            the pairs in place of being trained on them.
        references: settings of the rows `random` and `full`.
        cross: settings of students with other encoders.
    """

    protocol: Literal["strict", "paper", "both"] = "strict"
    num_students: int = 3
    methods: tuple[Literal["random", "distilled", "closed_form", "full"], ...] = ("random", "distilled", "full")
    references: ReferencesConfig = field(default_factory=ReferencesConfig)
    cross: CrossConfig = field(default_factory=CrossConfig)

    def __post_init__(self) -> None:
        _require_positive("evaluate", num_students=self.num_students)
        _require(
            len(self.methods) > 0,
            "evaluate.methods is empty; name at least one of random, distilled, closed_form, full",
        )

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """The protocols by which every student is reported."""
        return ("strict", "paper") if self.protocol == "both" else (self.protocol,)


@dataclass(frozen=True)
class SeedsConfig:
    """Seeds of the parts of a run, to vary one of them while the others stay.

    Attributes:
        teachers: seed of the teachers; null takes the run's.
        distillation: seed of the distillation or of the choice of real pairs; null takes the run's.
    """

    teachers: int | None = None
    distillation: int | None = None


@dataclass(frozen=True)
class RunConfig:
    """One run, from real pairs to a table of recalls.

    Attributes:
        run_dir: folder that receives everything the run makes; an interrupted run goes on from it.
        method: what makes the pairs; `pairstill methods` lists them. A method sets those parts of `distill` that
            make it what it is, and leaves the others.
        trajectories_dir: folder of the teachers' trajectories, for runs that share teachers; null finds
            them again by their content below `cache_dir` (see `reuse`).
        seed: seed of the run; teachers, distillation and students derive theirs from it.
        seeds: other seeds for the teachers or the distillation, so that `seed` decides the students alone.
        device: `auto` takes a GPU if there is one (under torchrun, one each); or `cpu`, `cuda`, `cuda:1`, ...
        threads: CPU threads of the tensor library; null leaves its default.
        ranks_timeout_minutes: under torchrun, the longest that a process waits for another; it must exceed the
            encoding of all pairs, an epoch of a teacher and a validation.
        cache_dir: folder for text embeddings, frozen features, extracted images and teachers, shared between runs;
            `pairstill cache` shows what is there.
        reuse: take teachers and distilled pairs that another run made of the same content, and leave this run's to
            others; off makes everything anew, in `run_dir`.
        tracker: also show metrics in `wandb`, `trackio` or `tensorboard` (the extra of the same name) while the run
            goes on; `metrics.jsonl` is written whatever is chosen.
        data: the real pairs.
        image: the image tower.
        text: the text tower.
        heads: the projection heads.
        teacher: the teachers.
        distill: the distillation.
        student: the students.
        evaluate: what is measured.
    """

    run_dir: str = "runs/default"
    method: str = "ptm_st"
    trajectories_dir: str | None = None
    seed: int = 0
    seeds: SeedsConfig = field(default_factory=SeedsConfig)
    device: str = "auto"
    threads: int | None = None
    ranks_timeout_minutes: float = 360.0
    cache_dir: str = "~/.cache/pairstill"
    reuse: bool = True
    tracker: Literal["wandb", "trackio", "tensorboard"] | None = None
    data: DataConfig = field(default_factory=DataConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    text: TextConfig = field(default_factory=TextConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    def __post_init__(self) -> None:
        _require(
            0 < self.ranks_timeout_minutes < float("inf"),
            f"ranks_timeout_minutes is {self.ranks_timeout_minutes}; it must be above 0, and finite",
        )
        _require(
            self.image.trainable or self.heads.image,
            "image.trainable is off and heads.image is off: nothing on the image side can learn; turn one on",
        )
        _require(
            self.image.trainable or self.teacher.augment == "none",
            "teacher.augment is paper but the image tower is frozen: its features are computed once; "
            "set teacher.augment to none",
        )
        _require(
            self.image.trainable or self.distill.hypergradient.micro_batch is None,
            "distill.hypergradient.micro_batch is set but the image tower is frozen: it does not run in the inner "
            "loop; leave micro_batch out",
        )
        _require(
            self.distill.hypergradient.mode != "exact_span"
            or (not self.image.trainable and self.heads.kind == "linear"),
            "distill.hypergradient.mode is exact_span, which needs a frozen image tower and heads.kind linear; "
            "leave the mode to auto",
        )
        _require(
            not (self.image.trainable and self.distill.blend),
            "distill.blend is on but the image tower is trained: representations are blended behind a frozen tower; "
            "set image.trainable to false, or leave blend off",
        )
        _require(
            not (self.image.trainable and self.distill.objective == "projector"),
            "distill.objective is projector but the image tower is trained: the projector is that of fixed features; "
            "set image.trainable to false",
        )
        _require(
            not (self.image.trainable and self.distill.features_first.steps),
            "distill.features_first.steps is set but the image tower is trained: its features change while it learns; "
            "set image.trainable to false, or leave features_first out",
        )
        automatic = self.distill.auto_phases is not None
        _require(
            not automatic or self.teacher.keep == "all",
            "distill.auto_phases chooses among all epochs of the teachers, but teacher.keep is endpoints: set "
            "teacher.keep to all",
        )
        _require(
            not automatic or self.distill.matching_span <= self.teacher.epochs,
            f"distill.matching_span is {self.distill.matching_span} but teachers train {self.teacher.epochs} epochs; "
            "raise teacher.epochs",
        )
        needed = max(self.last_epoch_needed(phase) for phase in self.distill.phases)
        _require(
            automatic or needed <= self.teacher.epochs,
            f"the phases need snapshot {needed} but teachers train {self.teacher.epochs} epochs; "
            "raise teacher.epochs or lower the endpoints and ranges",
        )

    @property
    def teachers_seed(self) -> int:
        """Seed of the teachers."""
        return self.seed if self.seeds.teachers is None else self.seeds.teachers

    @property
    def distillation_seed(self) -> int:
        """Seed of the distillation, or of the choice of real pairs."""
        return self.seed if self.seeds.distillation is None else self.seeds.distillation

    def last_epoch_needed(self, phase: PhaseConfig) -> int:
        """Return the last snapshot that `phase` reads."""
        if self.distill.shortcut:
            return phase.endpoint
        return self.distill.last_start(phase) + self.distill.matching_span
