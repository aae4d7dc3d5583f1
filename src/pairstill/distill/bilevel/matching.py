"""The matching loss: how far the student ends from the target, relative to how far the teacher went."""

from typing import Literal

import torch
from torch import Tensor

from pairstill.core.errors import NumericalError
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
    moved, begin, end = (split_sides(parameters) for parameters in (student, start, target))
    sides: list[Side] = [side for side in ("image", "text") if moved[side]]
    distances: dict[Side, Tensor] = {side: squared_distance(moved[side], end[side]) for side in sides}
    lengths: dict[Side, Tensor] = {side: squared_distance(begin[side], end[side]) for side in sides}
    return ratios(distances, lengths, kind)


def ratios(
    distances: dict[Side, Tensor], lengths: dict[Side, Tensor], kind: Literal["per_tower", "joint"]
) -> dict[str, Tensor]:
    """Return the matching loss by part.

    Args:
        distances: |student - target|^2 of each side.
        lengths: |start - target|^2 of each side.
        kind: one ratio for each side, or one of the sums.

    Raises:
        NumericalError: the teacher does not move between start and target, so that the ratio has no meaning.
    """
    parts: dict[str, tuple[Tensor, Tensor]] = {side: (distances[side], lengths[side]) for side in distances}
    if kind == "joint":
        parts = {"joint": (torch.stack(list(distances.values())).sum(), torch.stack(list(lengths.values())).sum())}
    for part, (_, length) in parts.items():
        if not bool(length > 0):
            raise NumericalError(f"matching loss: the teacher's {part} parameters do not move from start to target")
    return {part: distance / length for part, (distance, length) in parts.items()}
