"""What a method is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pairstill.config import DistillConfig, PhaseConfig, RunConfig

if TYPE_CHECKING:
    from pairstill.coreset import Rule  # which imports torch, and a list of methods shall not take seconds


@dataclass(frozen=True)
class Method:
    """A way to a small set of pairs, as a composition of parts.

    Attributes:
        name: its name in settings, commands and results.
        title: its name in tables.
        source: where it comes from.
        makes: what it makes or learns.
        needs: what must be there: `teacher`, `trajectories`, `features` (a frozen image tower).
        set_parts: returns a run's settings of the distillation with the parts that make it this method; applied again,
            it changes nothing.
        rule: for a coreset, the rule that chooses the pairs; else None.
        frozen_title: its name in tables where the image tower is frozen, if it is another thing then; else None.
    """

    name: str
    title: str
    source: str
    makes: str
    needs: tuple[str, ...]
    set_parts: Callable[[RunConfig], DistillConfig]
    rule: "Rule | None" = None
    frozen_title: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what `pairstill methods --json` prints."""
        return {
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "makes": self.makes,
            "needs": list(self.needs),
            "coreset": self.rule is not None,
        }


def one_phase(distill: DistillConfig) -> DistillConfig:
    """Return the settings with one phase in place of several: all their pairs and steps, the first one's start range.

    The steps of a warm start are all phases' too. With a single phase already the phase stays as it is.
    """
    first = distill.phases[0]
    phase = PhaseConfig(
        num_pairs=distill.num_pairs,
        outer_steps=sum(phase.outer_steps for phase in distill.phases),
        range_start=first.range_start,
        range_end=first.range_end,
        endpoint=first.endpoint,
    )
    warm = distill.features_first
    warm = replace(warm, steps=warm.steps * len(distill.phases))  # each of the phases would do as many
    return replace(distill, phases=(phase,), phased=False, features_first=warm)


PLAIN: dict[str, Any] = {"objective": "trajectory", "blend": False, "range_growth": 0.0, "start_sampling": "epochs"}
"""What a method that matches trajectories has unless it is what makes it another method."""


def whole_path(distill: DistillConfig, epochs: int) -> DistillConfig:
    """Return settings of one phase with starts from the first epoch to the last that has a target.

    Args:
        distill: the settings, with one phase.
        epochs: of the teachers.
    """
    (phase,) = distill.phases
    last = epochs - distill.matching_span + (distill.range_reading == "exclusive")
    return replace(distill, phases=(replace(phase, range_start=0, range_end=last, endpoint=epochs),))


def without_similarities(distill: DistillConfig, **parts: Any) -> DistillConfig:
    """Return the settings with one phase and InfoNCE; the pairs stay as many as they are.

    Args:
        distill: the settings.
        parts: what else to set.
    """
    return replace(one_phase(distill), loss="infonce", **parts)
