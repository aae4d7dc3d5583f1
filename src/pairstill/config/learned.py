"""Settings of the methods that learn pairs in outer steps, whatever their objective is."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pairstill.config.checks import require, require_positive
from pairstill.config.method import MethodConfig
from pairstill.config.outer import FeaturesFirstConfig, RateTrialsConfig

if TYPE_CHECKING:
    from pairstill.config.trajectory import TrajectoryConfig


@dataclass(frozen=True)
class LearnedConfig(MethodConfig):
    """Settings of an outer loop.

    Attributes:
        lr_image: initial inner rate of the image side; null takes the teachers'.
        lr_text: initial inner rate of the text side; null takes the teachers'.
        features_first: a warm start for frozen towers.
        rate_trials: short distillations that choose the outer rates and the initial inner ones.
        checkpoint_every: outer steps between checkpoints.
        validate_every: outer steps between validations of a student on the pairs so far; 0 never validates.
        patience: stop a phase after this many validations without a better recall, and keep the best;
            0 always goes to the end and keeps the last.
    """

    lr_image: float | None = None
    lr_text: float | None = None
    features_first: FeaturesFirstConfig = field(default_factory=FeaturesFirstConfig)
    rate_trials: RateTrialsConfig = field(default_factory=RateTrialsConfig)
    checkpoint_every: int = 25
    validate_every: int = 0
    patience: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("distill", checkpoint_every=self.checkpoint_every)
        rates = {"lr_image": self.lr_image, "lr_text": self.lr_text}
        require_positive("distill", **{name: rate for name, rate in rates.items() if rate is not None})
        require(self.validate_every >= 0 and self.patience >= 0, "distill.validate_every and patience start at 0")
        require(
            self.patience == 0 or self.validate_every > 0,
            "distill.patience is set but distill.validate_every is 0; set how often to validate",
        )

    @property
    def loop(self) -> "TrajectoryConfig":
        """These settings as an outer loop takes them."""
        raise NotImplementedError
