"""Settings of the methods that match trajectories, and of an outer loop."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Self

from pairstill.config.checks import require, require_positive
from pairstill.config.learned import LearnedConfig
from pairstill.config.made_of import MixtureConfig, PhotosConfig
from pairstill.config.outer import HypergradientConfig, OuterConfig, SimilarityConfig
from pairstill.config.phases import AutoPhasesConfig, PhaseConfig

if TYPE_CHECKING:
    from pairstill.config.run import RunConfig

LEAST_GLOSSARY = 3
"""Captions of the smallest glossary: a line through two of them has no error to tell a good map by."""


@dataclass(frozen=True)
class TrajectoryConfig(LearnedConfig):
    """Matching of trajectories; switching `phased`, `shortcut` and `ema` off gives the rows of the paper's Table 4.

    Attributes:
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
        loss: loss of the inner loop and of the students, `wbce` (with learned similarities) or `infonce` (none).
        blend: every inner step trains on pairs that are mixed with others of the mini-batch, features and text
            embeddings alike, by a share drawn anew (RepBlend); needs a frozen image tower. Students are not blended.
        matching: `per_tower` adds one ratio per tower, `joint` is one ratio over all parameters.
        init: `real` starts from real pairs drawn at random, `noise` from Gaussian noise of the same moments.
        images: `pixels` are learned; `kept` images are photos of the training split that stay as they are, of which
            nothing but features behind a frozen tower goes through the inner loops. The set holds the photos' files,
            and is not anonymous.
        photos: how kept photos are chosen.
        texts: `free` embeddings are learned; a `mixture` is a learned combination of a few real training captions, so
            that any text encoder can read it.
        mixture: which captions, and how many.
        glossary: short real training captions that go along with the set, of which nothing is learned: with them alone
            the captions of any other text encoder are read in the space of the set's texts. 0 gives none along.
        similarity: the learned similarity matrix.
        outer: the outer optimiser.
        hypergradient: how its gradient is computed.
    """

    # a setting in place of what other classes compute; nobody sets either after the settings are built
    phases: tuple[PhaseConfig, ...] = (PhaseConfig(),)  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
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
    loss: Literal["wbce", "infonce"] = "wbce"  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    blend: bool = False
    matching: Literal["per_tower", "joint"] = "per_tower"
    init: Literal["real", "noise"] = "real"
    images: Literal["pixels", "kept"] = "pixels"
    photos: PhotosConfig = field(default_factory=PhotosConfig)
    texts: Literal["free", "mixture"] = "free"
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    glossary: int = 0
    similarity: SimilarityConfig = field(default_factory=SimilarityConfig)
    outer: OuterConfig = field(default_factory=OuterConfig)
    hypergradient: HypergradientConfig = field(default_factory=HypergradientConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.phases) > 0, "distill.phases is empty; give at least one phase")
        require(
            self.phased or len(self.phases) == 1,
            f"distill.phased is off but distill.phases has {len(self.phases)}; keep one phase",
        )
        require(
            self.shortcut or self.start_sampling == "epochs",
            "distill.start_sampling is continuous but distill.shortcut is off: only a shortcut has points "
            "between epochs",
        )
        require(
            self.auto_phases is None or self.shortcut,
            "distill.auto_phases chooses start epochs and endpoints of shortcuts, but distill.shortcut is off; leave "
            "auto_phases out",
        )
        self._check_real()
        require(0 <= self.range_growth <= 1, f"distill.range_growth is {self.range_growth}; it is a share, from 0 to 1")
        require(0 <= self.ema_decay < 1, f"distill.ema_decay is {self.ema_decay}; it must be in [0, 1)")
        require_positive(
            "distill",
            matching_span=self.matching_span,
            inner_steps=self.inner_steps,
            trajectories_per_step=self.trajectories_per_step,
        )
        if self.auto_phases is None:
            for number, phase in enumerate(self.phases, start=1):
                self._check_phase(number, phase)

    def _check_real(self) -> None:
        """Refuse noise, and a warm start, where pairs are made of what is real."""
        require(
            self.init == "real" or (self.images == "pixels" and self.texts == "free"),
            "distill.init is noise, but photos that are kept and mixtures of captions are real; set init to real",
        )
        require(
            self.glossary == 0 or self.glossary >= LEAST_GLOSSARY,
            f"distill.glossary is {self.glossary}; it must be 0, or {LEAST_GLOSSARY} captions or more, of which a map "
            "can be learned",
        )
        require(
            self.images == "pixels" or not self.features_first.steps,
            "distill.features_first.steps is set but distill.images is kept: there are no pixels to find; leave "
            "features_first out",
        )

    @property
    def loop(self) -> "TrajectoryConfig":
        """These settings as an outer loop takes them: as they are."""
        return self

    def _check_phase(self, number: int, phase: PhaseConfig) -> None:
        require(
            self.loss == "wbce" or phase.num_pairs >= 2,
            f"phase {number}: distill.loss is infonce, which needs negatives, but the phase has one pair; give it two",
        )
        last = self.last_start(phase)
        require(
            last >= phase.range_start,
            f"phase {number}: the range {phase.range_start}..{phase.range_end} read as "
            f"{self.range_reading} holds no start epoch",
        )
        require(
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

    def with_pairs(self, pairs: int) -> Self:
        """Return the settings for another number of pairs, of which there must be one phase."""
        (phase,) = self.phases
        return replace(self, phases=(replace(phase, num_pairs=pairs),))

    @property
    def epochs_read(self) -> frozenset[int]:
        """Epochs of the teachers that the phases read."""
        needed: set[int] = set()
        for phase in self.phases:
            if self.shortcut:
                needed.add(phase.endpoint)
            else:
                needed |= set(range(phase.range_start, self.last_epoch_needed(phase) + 1))
        return frozenset(needed - {0})

    def last_epoch_needed(self, phase: PhaseConfig) -> int:
        """Return the last snapshot that `phase` reads."""
        return phase.endpoint if self.shortcut else self.last_start(phase) + self.matching_span

    def check_in(self, run: "RunConfig") -> None:
        """Refuse what the image tower, the heads or the teachers of the run do not allow.

        Raises:
            ConfigError: they do not.
        """
        image, heads = run.image, run.heads
        linear = not image.trains and heads.kind == "linear"
        self.hypergradient.modes(trained=image.trains, linear=linear)
        require(
            not (image.trains and self.blend),
            "distill.blend is on but the image tower is trained: representations are blended behind a frozen tower; "
            "set image.trainable to false, or leave blend off",
        )
        self.features_first.check_in(image)
        require(
            not (image.trains and self.images == "kept"),
            "distill.images is kept but the image tower is trained: photos are kept behind a frozen tower, whose "
            "features are all that the loops see; set image.trainable to false, or leave images out",
        )
        self._check_epochs(run)

    def _check_epochs(self, run: "RunConfig") -> None:
        """Refuse phases that need epochs which the teachers do not have, or do not keep."""
        automatic, teacher = self.auto_phases is not None, run.teacher
        require(
            not automatic or teacher.keep == "all",
            "distill.auto_phases chooses among all epochs of the teachers, but teacher.keep is endpoints: set "
            "teacher.keep to all",
        )
        require(
            not automatic or self.matching_span <= teacher.epochs,
            f"distill.matching_span is {self.matching_span} but teachers train {teacher.epochs} epochs; "
            "raise teacher.epochs",
        )
        needed = max(self.last_epoch_needed(phase) for phase in self.phases)
        require(
            automatic or needed <= teacher.epochs,
            f"the phases need snapshot {needed} but teachers train {teacher.epochs} epochs; "
            "raise teacher.epochs or lower the endpoints and ranges",
        )
