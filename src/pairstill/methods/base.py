"""What a method is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pairstill.config import DistillConfig, PhaseConfig, RunConfig

if TYPE_CHECKING:  # these import torch, and a list of methods shall not take seconds
    from pairstill.coreset import Rule
    from pairstill.distill.recipe import Ingredients, Recipe

StudentRule = Literal["learned_rates", "chosen_rates", "closed_form"]


def match_trajectories(given: "Ingredients", experts: list[Path]) -> "Recipe":
    """Return the recipe of pixels that match the teachers' trajectories."""
    from pairstill.distill.recipe import trajectory_recipe

    return trajectory_recipe(given, experts)


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
        recipe: returns what is distilled and for what, from the parts of a run and the files of the teachers, of which
            there are none if it does not need them; it imports what it takes when it is called.
        student: how students learn from the pairs: at `learned_rates`, at `chosen_rates` that validation tells, or so
            and, where heads are linear, in `closed_form` to judge pairs while they are distilled.
        all_teachers: whether it reads all teachers, if any; or else the first alone.
        rule: for a coreset, the rule that chooses the pairs; else None.
        frozen_title: its name in tables where the image tower is frozen, if it is another thing then; else None.
    """

    name: str
    title: str
    source: str
    makes: str
    needs: tuple[str, ...]
    set_parts: Callable[[RunConfig], DistillConfig]
    recipe: "Callable[[Ingredients, list[Path]], Recipe]" = match_trajectories
    student: StudentRule = "learned_rates"
    all_teachers: bool = True
    rule: "Rule | None" = None
    frozen_title: str | None = None

    @property
    def matches_trajectories(self) -> bool:
        """Whether its pairs are distilled by matching the trajectories of all teachers."""
        return self.rule is None and self.recipe is match_trajectories

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
