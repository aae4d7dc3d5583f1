"""Settings of the distillation."""

from dataclasses import dataclass, field
from typing import Literal

from pairstill.config.checks import require, require_positive
from pairstill.config.objectives import CharacteristicConfig, ProjectorConfig
from pairstill.config.outer import FeaturesFirstConfig, HypergradientConfig, OuterConfig, SimilarityConfig
from pairstill.config.phases import AutoPhasesConfig, PhaseConfig


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
            self.auto_phases is None or (self.shortcut and self.objective == "trajectory"),
            "distill.auto_phases chooses start epochs and endpoints of shortcuts, but "
            + ("distill.shortcut is off" if not self.shortcut else f"distill.objective is {self.objective}")
            + "; leave auto_phases out",
        )
        require(0 <= self.range_growth <= 1, f"distill.range_growth is {self.range_growth}; it is a share, from 0 to 1")
        require(
            self.objective == "trajectory" or self.loss == "infonce",
            f"distill.objective is {self.objective}, which learns no similarities: set distill.loss to infonce",
        )
        require(0 <= self.ema_decay < 1, f"distill.ema_decay is {self.ema_decay}; it must be in [0, 1)")
        require_positive(
            "distill",
            matching_span=self.matching_span,
            inner_steps=self.inner_steps,
            trajectories_per_step=self.trajectories_per_step,
            checkpoint_every=self.checkpoint_every,
        )
        rates = {"lr_image": self.lr_image, "lr_text": self.lr_text}
        require_positive("distill", **{name: rate for name, rate in rates.items() if rate is not None})
        require(self.batch_size >= 2, f"distill.batch_size is {self.batch_size}; it must be at least 2")
        require(self.validate_every >= 0 and self.patience >= 0, "distill.validate_every and patience start at 0")
        require(
            self.patience == 0 or self.validate_every > 0,
            "distill.patience is set but distill.validate_every is 0; set how often to validate",
        )
        if self.auto_phases is None:
            for number, phase in enumerate(self.phases, start=1):
                self._check_phase(number, phase)

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
