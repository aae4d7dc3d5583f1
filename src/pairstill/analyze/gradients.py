"""Gradients of the matching loss by start epoch: how they agree, how long they are (Figures 2b and 4)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from pairstill.analyze.geometry import PrincipalCoordinates, cosines, gram, principal_coordinates
from pairstill.analyze.inputs import PATHS, analysis_seed, first_captions, whole_range
from pairstill.distill.bilevel.agreement import start_gradients
from pairstill.report.figures import Cell
from pairstill.run.context import RunContext
from pairstill.run.problems import matching_problem
from pairstill.storage import load_tensors, save_tensors


@dataclass(frozen=True)
class GradientShapes:
    """Inner products of gradients, those of the original trajectory before those of the shortcut.

    Attributes:
        starts: start epochs, the same for both paths.
        by_expert: inner products (experts, paths x starts, paths x starts) of each expert's gradients.
        of_mean: inner products (paths x starts, paths x starts) of the gradients averaged over the experts.
    """

    starts: tuple[int, ...]
    by_expert: Tensor
    of_mean: Tensor

    def of_path(self, path: str) -> slice:
        """Return the rows of a path."""
        first = PATHS.index(path) * len(self.starts)
        return slice(first, first + len(self.starts))

    def cosines(self, path: str) -> Tensor:
        """Return each expert's cosine similarities between start epochs (experts, starts, starts)."""
        rows = self.of_path(path)
        return torch.stack([cosines(inner[rows, rows]) for inner in self.by_expert])

    def norms(self, path: str) -> Tensor:
        """Return the norms of each expert's gradients (experts, starts)."""
        return self.by_expert.diagonal(dim1=1, dim2=2)[:, self.of_path(path)].sqrt()

    def plane(self) -> PrincipalCoordinates:
        """Return the averaged gradients of both paths, and last no gradient, in the plane in which they differ most."""
        return principal_coordinates(pad(self.of_mean, (0, 1, 0, 1)), 2)


def off_diagonal_mean(matrix: Tensor) -> float:
    """Return the mean of the entries off the diagonal of (..., points, points).

    Example:
        >>> off_diagonal_mean(torch.tensor([[1.0, 0.25], [0.75, 1.0]]))
        0.5
    """
    off = ~torch.eye(matrix.shape[-1], dtype=torch.bool)
    return float(matrix[..., off].mean())


def measure_gradients(context: RunContext, experts: list[Path], pairs: int, work: Path) -> GradientShapes:
    """Return the shapes of the gradients at first real pairs; goes on from what `work` holds.

    As in the paper's Appendix B.2: the synthetic set is the first pairs of the training split, the shortcut ends where
    the trajectory does. Every start and both paths see the same mini-batches. In memory are the gradients of one expert
    and their sum over experts: 2 x starts x the values of all images, twice.
    """
    captions, phase = first_captions(context.splits.train, pairs), whole_range(context, pairs)
    starts = tuple(range(phase.range_end + 1))

    def rows_of(expert: int) -> Iterator[Tensor]:
        for path in PATHS:
            problem = matching_problem(
                context, [experts[expert]], captions, phase, shortcut=path == "shortcut", seed=analysis_seed(context)
            )
            yield from start_gradients(problem, starts, repeats=1)

    state = work / "gradients.safetensors"
    known = load_tensors(state) if state.is_file() else {}
    first, of_each = len(known.get("by_expert", ())), len(PATHS) * len(starts)
    with context.counting("Gradients", len(experts) * of_each, first * of_each) as tally:
        for expert in range(first, len(experts)):
            tally.say(f"expert {expert + 1} of {len(experts)}")
            rows = torch.stack(list(tally.counted(rows_of(expert))))
            inner = gram(rows).unsqueeze(0)
            known = {
                "sum": known["sum"] + rows if known else rows,
                "by_expert": torch.cat([known["by_expert"], inner]) if known else inner,
            }
            save_tensors(state, known)
    return GradientShapes(starts, known["by_expert"], gram(known["sum"] / len(experts)))


def cosine_rows(shapes: GradientShapes) -> Iterator[dict[str, Cell]]:
    """Yield the data of the cosine matrices, one row for each path and pair of start epochs."""
    for path in PATHS:
        by_expert, rows = shapes.cosines(path), shapes.of_path(path)
        of_mean = cosines(shapes.of_mean[rows, rows])
        for i, start in enumerate(shapes.starts):
            for j, other in enumerate(shapes.starts):
                yield {
                    "path": path,
                    "start": start,
                    "other_start": other,
                    "cosine": float(by_expert[:, i, j].mean()),
                    "deviation_over_experts": float(by_expert[:, i, j].std(correction=0)),
                    "cosine_of_mean_gradients": float(of_mean[i, j]),
                }


def norm_rows(shapes: GradientShapes) -> Iterator[dict[str, Cell]]:
    """Yield the data of the norms, one row for each path and start epoch."""
    for path in PATHS:
        norms = shapes.norms(path)
        for number, start in enumerate(shapes.starts):
            yield {
                "path": path,
                "start": start,
                "norm": float(norms[:, number].mean()),
                "deviation_over_experts": float(norms[:, number].std(correction=0)),
            }


def plane_rows(shapes: GradientShapes) -> Iterator[dict[str, Cell]]:
    """Yield the data of the plane, one row for each path and start epoch, and one for no gradient."""
    plane = shapes.plane()
    for path in PATHS:
        for start, (x, y) in zip(shapes.starts, plane.values[shapes.of_path(path)].tolist(), strict=True):
            yield {"path": path, "start": start, "first_component": x, "second_component": y}
    x, y = plane.values[-1].tolist()
    yield {"path": "no gradient", "start": None, "first_component": x, "second_component": y}


def summarise_gradients(shapes: GradientShapes) -> dict[str, Any]:
    """Return the numbers that the figures come down to, for each path."""
    found: dict[str, Any] = {"starts": list(shapes.starts), "experts": len(shapes.by_expert)}
    for path in PATHS:
        by_expert, norms, rows = shapes.cosines(path), shapes.norms(path).mean(0), shapes.of_path(path)
        found[path] = {
            "mean_cosine_between_starts": off_diagonal_mean(by_expert),
            "mean_cosine_between_neighbours": float(by_expert.diagonal(1, 1, 2).mean()),
            "lowest_mean_cosine": float(by_expert.mean(0).min()),
            "mean_cosine_of_mean_gradients": off_diagonal_mean(cosines(shapes.of_mean[rows, rows])),
            "norm_last_over_first": float(norms[-1] / norms[0]),
        }
    found["variance_in_plane"] = [float(share) for share in shapes.plane().shares]
    return found
