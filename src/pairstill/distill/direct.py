"""Objectives that compare the pairs with the real ones directly, without an inner loop."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

ADVERSARY = "adversary/"


@dataclass(frozen=True)
class DirectStep:
    """What an objective sees of an outer step.

    Attributes:
        images: the pairs' image inputs (pairs, ...): pixels, or features of a frozen tower.
        texts: their text embeddings (pairs, width).
        adversary: what is learned against the pairs, by name; empty for most objectives.
        generator: the step's randomness.
    """

    images: Tensor
    texts: Tensor
    adversary: dict[str, Tensor]
    generator: torch.Generator


class DirectObjective(Protocol):
    """A loss of the pairs, differentiable in all that a step holds."""

    def adversary(self) -> dict[str, Tensor]:
        """Return the initial values of what is learned against the pairs."""
        ...

    def losses(self, step: DirectStep) -> dict[str, Tensor]:
        """Return the loss by part; their sum is minimised by the pairs and maximised by the adversary."""
        ...
