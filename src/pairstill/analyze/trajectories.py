"""The shape of trajectories: how far experts are from one another, how long and how bent their ways are (Figure 6)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairstill.analyze.geometry import (
    PrincipalCoordinates,
    combine,
    distances,
    gram,
    principal_coordinates,
    step_lengths,
    turning_angles,
)
from pairstill.analyze.inputs import PATHS
from pairstill.model.dual_encoder import Side, side_of
from pairstill.report.figures import Cell
from pairstill.teachers.shortcut import shortcut_pace
from pairstill.teachers.trajectory import Trajectory

EXPERTS_IN_VIEW = 3


@dataclass(frozen=True)
class TrajectoryShapes:
    """Inner products of everything that experts and their shortcuts pass through, layer by layer.

    Points are ordered by path (original, shortcut), then by expert, then by epoch.

    Attributes:
        experts: number of experts.
        epochs: epochs of each.
        layers: inner products (points, points) by layer.
    """

    experts: int
    epochs: int
    layers: dict[str, Tensor]

    def sides(self) -> dict[Side, Tensor]:
        """Return the inner products of each side's parameters, image side first."""
        found: dict[Side, Tensor] = {}
        for name, inner in self.layers.items():
            side = side_of(name)
            found[side] = found[side] + inner if side in found else inner
        return found

    def whole(self) -> Tensor:
        """Return the inner products of all parameters."""
        return torch.stack(list(self.layers.values())).sum(0)

    def rows(self, path: str, expert: int) -> slice:
        """Return the points of one path."""
        first = (PATHS.index(path) * self.experts + expert) * (self.epochs + 1)
        return slice(first, first + self.epochs + 1)

    def by_expert(self, inner: Tensor, path: str) -> list[Tensor]:
        """Return the inner products (epochs + 1, epochs + 1) along each expert's path."""
        slices = [self.rows(path, expert) for expert in range(self.experts)]
        return [inner[rows, rows] for rows in slices]

    def expert_distances(self, inner: Tensor, path: str) -> Tensor:
        """Return the distances between each two experts at the same epoch, (pairs of experts, epochs + 1)."""
        found, apart = distances(inner), []
        for one in range(self.experts):
            for other in range(one):
                apart.append(found[self.rows(path, one), self.rows(path, other)].diagonal())
        return torch.stack(apart) if apart else inner.new_zeros(0, self.epochs + 1)

    def view(self, experts: int) -> PrincipalCoordinates:
        """Return the points of the first experts, each from its own start, in the three dimensions that hold most.

        Starts differ at random, and so do the directions of learning: of many experts at once three dimensions show
        next to nothing.
        """
        chosen = [self.rows(path, expert) for path in PATHS for expert in range(experts)]
        index = torch.cat([torch.arange(rows.start, rows.stop) for rows in chosen])
        from_start = torch.eye(self.epochs + 1, dtype=torch.float64)
        from_start[:, 0] -= 1
        inner = combine(self.whole()[index][:, index], torch.block_diag(*[from_start] * len(chosen)))
        return principal_coordinates(inner, 3)

    def view_rows(self, path: str, expert: int, experts: int) -> slice:
        """Return the points of one path in the view of the first `experts`."""
        first = (PATHS.index(path) * experts + expert) * (self.epochs + 1)
        return slice(first, first + self.epochs + 1)


def with_shortcuts(inner: Tensor, paces: list[Tensor]) -> Tensor:
    """Return inner products of recorded points and of the points of their shortcuts, which are combinations of them.

    Args:
        inner: inner products of recorded points, by expert and epoch (experts x epochs, experts x epochs).
        paces: beta (epochs,) of each expert's shortcut in this layer.
    """
    blocks = []
    for beta in paces:
        weights = torch.zeros(len(beta), len(beta), dtype=inner.dtype)
        weights[:, 0], weights[:, -1] = 1 - beta, beta
        blocks.append(weights)
    shortcuts = torch.block_diag(*blocks)
    return combine(inner, torch.cat([torch.eye(len(inner), dtype=inner.dtype), shortcuts]))


def measure_trajectories(experts: list[Path]) -> TrajectoryShapes:
    """Return the shapes of recorded trajectories with all snapshots, and of their shortcuts to the last one.

    One layer of all experts and epochs is in memory at a time.
    """
    opened = [Trajectory.open(path) for path in experts]
    epochs = len(opened[0].epochs)
    paces = [shortcut_pace(trajectory.step_norms, epochs) for trajectory in opened]
    layers = {}
    for number, name in enumerate(opened[0].layers):
        points = torch.cat([trajectory.positions(name) for trajectory in opened]).double()
        # inner products from a point nearby lose no digits
        inner = gram(points - points[0])
        layers[name] = with_shortcuts(inner, [pace[number] for pace in paces])
    return TrajectoryShapes(len(experts), epochs, layers)


def mean_or_none(values: Tensor, *, root: bool = False) -> float | None:
    """Return the mean of values, or its square root; None of no values, or where one has no meaning (NaN)."""
    if not values.numel() or bool(values.isnan().any()):
        return None
    return float(values.mean().sqrt() if root else values.mean())


def distance_rows(shapes: TrajectoryShapes) -> Iterator[dict[str, Cell]]:
    """Yield the distances between experts, one row for each side, path and epoch."""
    for side, inner in shapes.sides().items():
        for path in PATHS:
            apart = shapes.expert_distances(inner, path)
            travelled = torch.stack([distances(one)[0] for one in shapes.by_expert(inner, path)])
            for epoch in range(shapes.epochs + 1):
                yield {
                    "side": side,
                    "path": path,
                    "epoch": epoch,
                    "distance_between_experts": mean_or_none(apart[:, epoch]),
                    "distance_from_start": mean_or_none(travelled[:, epoch]),
                }


def length_rows(shapes: TrajectoryShapes) -> Iterator[dict[str, Cell]]:
    """Yield lengths of the original paths, one row for each layer: means over experts."""
    for layer, inner in shapes.layers.items():
        paths = shapes.by_expert(inner, "original")
        lengths = torch.stack([step_lengths(one).sum() for one in paths])
        chords = torch.stack([distances(one)[0, -1] for one in paths])
        yield {
            "layer": layer,
            "path_length": mean_or_none(lengths),
            "distance_from_start_to_end": mean_or_none(chords),
            "straightness": mean_or_none(chords / lengths),
        }


def angle_rows(shapes: TrajectoryShapes) -> Iterator[dict[str, Cell]]:
    """Yield turning angles, one row for each path, layer (and side, and all together) and inner epoch."""
    of_sides = {f"{side} side": inner for side, inner in shapes.sides().items()}
    for layer, inner in {"all": shapes.whole(), **of_sides, **shapes.layers}.items():
        for path in PATHS:
            angles = torch.stack([turning_angles(one) for one in shapes.by_expert(inner, path)])
            for epoch in range(1, shapes.epochs):
                now = angles[:, epoch - 1]
                yield {
                    "layer": layer,
                    "path": path,
                    "epoch": epoch,
                    "turning_angle": mean_or_none(now),
                    "deviation_over_experts": mean_or_none((now - now.mean()).square(), root=True),
                }


def view_rows(shapes: TrajectoryShapes) -> Iterator[dict[str, Cell]]:
    """Yield the points of the three-dimensional views, of a few experts and of the first alone."""
    for experts in views(shapes):
        values = shapes.view(experts).values
        for path in PATHS:
            for expert in range(experts):
                for epoch, (x, y, z) in enumerate(values[shapes.view_rows(path, expert, experts)].tolist()):
                    row: dict[str, Cell] = {"experts_in_view": experts, "path": path, "expert": expert, "epoch": epoch}
                    yield {**row, "x": x, "y": y, "z": z}


def views(shapes: TrajectoryShapes) -> list[int]:
    """Return how many experts each view shows."""
    return sorted({1, min(EXPERTS_IN_VIEW, shapes.experts)}, reverse=True)


def summarise_trajectories(shapes: TrajectoryShapes) -> dict[str, Any]:
    """Return the numbers that the figures come down to, means over experts."""
    found: dict[str, Any] = {"experts": shapes.experts, "epochs": shapes.epochs}
    for name, inner in {**shapes.sides(), "all": shapes.whole()}.items():
        original, shortcut = (shapes.by_expert(inner, path) for path in PATHS)
        lengths = torch.stack([step_lengths(one).sum() for one in original])
        chords = torch.stack([distances(one)[0, -1] for one in original])
        angles = torch.stack([turning_angles(one) for one in original])
        pairs = shapes.expert_distances(inner, "original")
        found[name] = {
            "path_length": mean_or_none(lengths),
            "straightness": mean_or_none(chords / lengths),
            "mean_turning_angle": mean_or_none(angles),
            "mean_turning_angle_of_shortcut": mean_or_none(torch.stack([turning_angles(one) for one in shortcut])),
            "distance_between_experts_at_start": mean_or_none(pairs[:, 0]),
            "distance_between_experts_at_end": mean_or_none(pairs[:, -1]),
            "distance_from_start_to_end": mean_or_none(chords),
        }
    found["variance_in_view"] = {str(experts): shapes.view(experts).shares.tolist() for experts in views(shapes)}
    return found
