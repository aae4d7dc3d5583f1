"""What pairs are distilled for: the losses of an outer step and their gradients."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pairstill.distill.learned import Learned, Variable
from pairstill.events import Event


@dataclass(frozen=True)
class Step:
    """One move of an outer step.

    Attributes:
        losses: the loss by part; their sum is what is minimised, by variables that ascend maximised.
        gradients: of that sum, by name of the variable; one that is not there does not move.
        notes: what else the log says of the step, as JSON values.
    """

    losses: dict[str, Tensor]
    gradients: dict[str, Tensor]
    notes: Mapping[str, Any] = field(default_factory=dict)


class Objective(Protocol):
    """A loss of the pairs of a phase. Whatever changes in it from step to step is in its state.

    All randomness of a step comes from the seed and the step's number, so that with the state a killed run goes on to
    the same bits.
    """

    def variables(self) -> dict[str, Variable]:
        """Return everything that is learned by name: what the pairs are made of, and what is learned beside it."""
        ...

    def step(self, values: Learned, number: int) -> Iterable[Step]:
        """Return the moves of an outer step: one, or several, each asked for when the values have moved by the last.

        Args:
            values: of every variable; leaves of the graph.
            number: the step, from 0.
        """
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps of it, beside the variables; empty if it has no state."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from the state that a checkpoint kept."""
        ...


@runtime_checkable
class Deciding(Protocol):
    """An objective that decides something for itself before its first step, which those who watch are told."""

    def decisions(self) -> Sequence[Event]:
        """Return what it has decided, of every part that decides for itself."""
        ...


class Stateless:
    """An objective that every step finds as it was."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Do nothing."""


def differentiated(losses: dict[str, Tensor], values: Learned) -> Step:
    """Return the step of losses that were computed from values, with the gradients of all that they depend on."""
    total = torch.stack(list(losses.values())).sum()
    found = torch.autograd.grad(total, list(values.values()), allow_unused=True)
    gradients = {name: gradient for name, gradient in zip(values, found, strict=True) if gradient is not None}
    return Step({part: value.detach() for part, value in losses.items()}, gradients)
