"""Copies of an image tower, and whether what is made of one computes what the tower does."""

import copy
from typing import Any

from torch import Tensor, nn


def sharing_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a module whose layers can be exchanged; it shares parameters and buffers, under their names."""
    shared: Any = {id(value): value for value in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, shared)


def agree(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Return whether features differ by no more than a share of their norm."""
    return bool((found - expected).norm() <= tolerance * expected.norm())
