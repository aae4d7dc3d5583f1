"""What a method is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pairstill.config import DistillConfig, PhaseConfig

if TYPE_CHECKING:
    from pairstill.coreset import Rule  # which imports torch, and a list of methods shall not take seconds


def keep_parts(distill: DistillConfig) -> DistillConfig:
    """Return the settings as they are."""
    return distill


@dataclass(frozen=True)
class Method:
    """A way to a small set of pairs, as a composition of parts.

    Attributes:
        name: its name in settings, commands and results.
        title: its name in tables.
        source: where it comes from.
        makes: what it makes or learns.
        needs: what must be there: `teacher`, `trajectories`, `features` (a frozen image tower).
        set_parts: returns the distillation's settings with the parts that make it this method; applied again, it
            changes nothing.
        rule: for a coreset, the rule that chooses the pairs; else None.
    """

    name: str
    title: str
    source: str
    makes: str
    needs: tuple[str, ...]
    set_parts: Callable[[DistillConfig], DistillConfig] = keep_parts
    rule: "Rule | None" = None

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


def one_phase(distill: DistillConfig, *, more_pairs: int = 0) -> DistillConfig:
    """Return the settings with one phase in place of several: all their pairs and steps, the first one's start range.

    The steps of a warm start are all phases' too.

    Args:
        distill: the settings; with a single phase already they stay.
        more_pairs: pairs to add, for methods without similarities, which are worth about one.
    """
    first = distill.phases[0]
    phase = PhaseConfig(
        num_pairs=distill.num_pairs + more_pairs,
        outer_steps=sum(phase.outer_steps for phase in distill.phases),
        range_start=first.range_start,
        range_end=first.range_end,
        endpoint=first.endpoint,
    )
    warm = distill.features_first
    warm = replace(warm, steps=warm.steps * len(distill.phases))  # each of the phases would do as many
    return replace(distill, phases=(phase,), phased=False, features_first=warm)
