"""The matching loss: how far the student ends from the target, relative to how far the teacher went."""

from typing import Literal

import torch
from torch import Tensor

from pairstill.errors import NumericalError
from pairstill.model.dual_encoder import Parameters, Side, split_sides


def squared_distance(a: Parameters, b: Parameters) -> Tensor:
    """Return the sum of squared differences over all tensors."""
    return torch.stack([(a[name] - b[name]).square().sum() for name in a]).sum()


def matching_losses(
    student: Parameters, start: Parameters, target: Parameters, kind: Literal["per_tower", "joint"]
) -> dict[str, Tensor]:
    """Return the matching loss (Eq. 1) by part; the loss is their sum.

    Each part is |student - target|^2 / |start - target|^2. The paper prints one ratio over all parameters (`joint`);
    its authors' code adds one ratio for each tower (`per_tower`).

    Raises:
        NumericalError: the teacher does not move between start and target, so that the ratio has no meaning.
    """
    parts: dict[str, tuple[Parameters, Parameters, Parameters]] = {}
    if kind == "joint":
        parts["joint"] = (student, start, target)
    else:
        sides: list[Side] = ["image", "text"]
        by_side = [split_sides(parameters) for parameters in (student, start, target)]
        parts = {side: (by_side[0][side], by_side[1][side], by_side[2][side]) for side in sides if by_side[0][side]}
    losses = {}
    for part, (moved, begin, end) in parts.items():
        length = squared_distance(begin, end)
        if not bool(length > 0):
            raise NumericalError(f"matching loss: the teacher's {part} parameters do not move from start to target")
        losses[part] = squared_distance(moved, end) / length
    return losses
