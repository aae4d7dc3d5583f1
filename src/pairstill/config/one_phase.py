"""Settings of the methods that learn all pairs in one phase, without similarities and learned rates."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from pairstill.config.changed import changed
from pairstill.config.checks import require, require_positive
from pairstill.config.learned import LearnedConfig
from pairstill.config.outer import OuterConfig
from pairstill.config.phases import PhaseConfig
from pairstill.config.trajectory import TrajectoryConfig

if TYPE_CHECKING:
    from pairstill.config.run import RunConfig


@dataclass(frozen=True)
class OnePhaseConfig(LearnedConfig):
    """All pairs in one phase.

    Attributes:
        num_pairs: distilled pairs.
        outer_steps: updates of the distilled pairs.
    """

    # a setting in place of what other classes compute; nobody sets it after the settings are built
    num_pairs: int = 99  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    outer_steps: int = changed(PhaseConfig.outer_steps, before=120)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("distill", num_pairs=self.num_pairs, outer_steps=self.outer_steps)
        require(self.num_pairs >= 2, "distill.num_pairs is 1, but InfoNCE needs negatives; give it two")

    @property
    def outer(self) -> OuterConfig:
        """The outer optimiser."""
        raise NotImplementedError

    @property
    def phases(self) -> tuple[PhaseConfig, ...]:
        """The one phase."""
        return (PhaseConfig(num_pairs=self.num_pairs, outer_steps=self.outer_steps),)

    def check_in(self, run: "RunConfig") -> None:
        """Refuse a warm start where the image tower is trained.

        Raises:
            ConfigError: it is.
        """
        self.features_first.check_in(run.image)

    def with_pairs(self, pairs: int) -> Self:
        """Return the settings for another number of pairs."""
        return replace(self, num_pairs=pairs)

    @property
    def loop(self) -> TrajectoryConfig:
        """These settings as an outer loop takes them: one phase with InfoNCE, whose last pairs are kept."""
        return TrajectoryConfig(
            batch_size=self.batch_size,
            phases=self.phases,
            phased=False,
            ema=False,
            loss="infonce",
            lr_image=self.lr_image,
            lr_text=self.lr_text,
            features_first=self.features_first,
            outer=self.outer,
            checkpoint_every=self.checkpoint_every,
            validate_every=self.validate_every,
            patience=self.patience,
        )

    @classmethod
    def of_phases(cls, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Return all pairs and steps of the phases; a warm start does as many steps as it would do over all of them.

        Args:
            shared: plain values by name, with `phases`.
        """
        phases, warm = shared["phases"], shared.get("features_first")
        found: dict[str, Any] = {
            "num_pairs": sum(phase.get("num_pairs", PhaseConfig.num_pairs) for phase in phases),
            "outer_steps": sum(phase.get("outer_steps", PhaseConfig.outer_steps) for phase in phases),
        }
        if warm and "steps" in warm:
            found["features_first"] = {**warm, "steps": warm["steps"] * len(phases)}
        return found
