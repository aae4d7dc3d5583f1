"""Objectives that compare the pairs with the real ones directly, without an inner loop."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

ADVERSARY = "adversary/"


@dataclass(frozen=True)
class DirectStep:
    """What an objective sees in one turn of an outer step.

    Attributes:
        images: image inputs of the turn's pairs (pairs, ...): pixels, or features of a frozen tower.
        texts: their text embeddings (pairs, width).
        adversary: what is learned against the pairs, by name; empty for most objectives.
        generator: the turn's randomness.
        number: the outer step, from 0.
        turn: the turn, from 0.
    """

    images: Tensor
    texts: Tensor
    adversary: dict[str, Tensor]
    generator: torch.Generator
    number: int = 0
    turn: int = 0


class DirectObjective(Protocol):
    """A loss of the pairs, differentiable in all that a step holds.

    An outer step is a turn or several, each of which has pairs, a loss and a step of the optimiser of its own.
    """

    @property
    def turns(self) -> int:
        """How many turns an outer step has."""
        ...

    def rows(self, turn: int) -> Tensor | None:
        """Return the numbers of the pairs that a turn is about, (pairs,); None is all."""
        ...

    def adversary(self) -> dict[str, Tensor]:
        """Return the initial values of what is learned against the pairs."""
        ...

    def losses(self, step: DirectStep) -> dict[str, Tensor]:
        """Return the loss by part; their sum is minimised by the pairs and maximised by the adversary."""
        ...
