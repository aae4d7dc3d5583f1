"""What is learned: variables by name, and the pairs that they make."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from pairstill.distill.bilevel.inner_loop import InnerData, InnerRates
from pairstill.distilled import DistilledPhase

Learned = dict[str, Tensor]
"""Values of everything that a phase learns, by name; the names are those of checkpoints and results."""


@dataclass(frozen=True)
class Variable:
    """One thing that is learned.

    Attributes:
        value: what it begins with, where it is computed with.
        rate: its outer rate, in units of `scale`.
        scale: the unit.
        decays: whether `adamw` takes a share off it in every step.
        ascends: whether it goes where the losses grow, against all others.
        positive: whether it must stay above 0, as a rate must; a step that takes it below stops the run.
        project: moves a value, in place and without a graph, to the nearest that is allowed; called after every move.
    """

    value: Tensor
    rate: float
    scale: float = 1.0
    decays: bool = False
    ascends: bool = False
    positive: bool = False
    project: Callable[[Tensor], None] | None = None


def initial_values(variables: Mapping[str, Variable]) -> Learned:
    """Return what variables begin with."""
    return {name: variable.value for name, variable in variables.items()}


@dataclass(frozen=True)
class Pairs:
    """Pairs as a student sees them, with the graph that leads back to what is learned.

    Attributes:
        data: image inputs, text embeddings and similarities.
        rates: the student's rates.
    """

    data: InnerData
    rates: InnerRates


class Parametrisation(Protocol):
    """What the pairs of a phase are made of."""

    def variables(self) -> dict[str, Variable]:
        """Return what is learned, by name."""
        ...

    def render(self, values: Learned, rows: Tensor | None = None) -> Pairs:
        """Return the pairs of these values as a student sees them, differentiable.

        Args:
            values: of every variable.
            rows: numbers of the pairs that are wanted; None wants all.
        """
        ...

    def phase(self, values: Learned) -> DistilledPhase:
        """Return the pairs of these values as they are stored, on the CPU."""
        ...
