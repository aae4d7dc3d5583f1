"""Proposition 1 in numbers: how fast the gradient changes with the start, and the paper's bound.

Beside the straight line at an even pace, of which the proposition speaks, stand the shortcut, whose layers each have
their own pace, and the original trajectory, which has no points between epochs.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from math import log
from pathlib import Path
from typing import Any, Literal, assert_never, get_args

import torch
from torch import Tensor

from pairstill.analyze.curvature import flat
from pairstill.analyze.geometry import distances, gram
from pairstill.analyze.inputs import analysis_seed, first_captions, whole_range
from pairstill.analyze.one_step import Bound, BoundTerms, OneStepProblem, straight_line
from pairstill.analyze.settings import PropositionAnalysis
from pairstill.report.figures import Cell
from pairstill.run.context import RunContext
from pairstill.run.problems import matching_problem
from pairstill.storage import load_tensors, read_list, save_tensors, write_json
from pairstill.teachers.shortcut import TeacherPath, recorded_path, shortcut_path
from pairstill.teachers.trajectory import Trajectory

PathName = Literal["original", "shortcut", "line"]
NAMES: tuple[PathName, ...] = get_args(PathName)
NODES = 4
"""Starts at which the bound's terms are measured, from the first to the last."""
NEAR = 3
"""Epochs up to which lines are fitted: the bound's second-order term grows beyond."""


def _path(name: PathName, expert: Path, epochs: int, device: torch.device) -> TeacherPath:
    trajectory = Trajectory.open(expert)
    match name:
        case "original":
            return recorded_path(trajectory, 0, epochs, device)
        case "shortcut":
            return shortcut_path(trajectory, epochs, device)
        case "line":
            return straight_line(trajectory, epochs, device)
        case _:
            assert_never(name)


@dataclass(frozen=True)
class Differences:
    """How far gradients at two starts of a path differ, by the distance of the starts.

    Attributes:
        starts: the starts.
        distances: |grad L(t') - grad L(t)| of each expert, (experts, starts, starts).
        norms: |grad L(t)| of each expert, (experts, starts).
    """

    starts: list[float]
    distances: Tensor
    norms: Tensor

    def by_distance(self) -> list[tuple[float, Tensor]]:
        """Return the distances of starts, ascending, and the differences of all pairs of starts at each."""
        places = torch.tensor(self.starts, dtype=torch.float64)
        apart = (places[None, :] - places[:, None]).round(decimals=9)
        found = sorted({float(value) for value in apart.flatten() if value > 0})
        return [(value, self.distances[:, apart == value].flatten()) for value in found]

    def steepest(self, expert: int) -> float:
        """Return the largest difference per epoch between two starts of one expert."""
        mine = replace(self, distances=self.distances[expert : expert + 1])
        return max(float(values.max()) / apart for apart, values in mine.by_distance())


@dataclass(frozen=True)
class Proposition:
    """What was measured of Proposition 1.

    Attributes:
        differences: by path.
        bound: the constants, on the straight line of the first expert; K is a lower estimate, since power iterations
            at `NODES` starts see its terms from below.
    """

    differences: dict[PathName, Differences]
    bound: Bound


def measure_proposition(
    context: RunContext, experts: list[Path], settings: PropositionAnalysis, work: Path
) -> Proposition:
    """Return the differences of gradients on all paths, and the bound's terms; goes on from what `work` holds."""
    captions, phase = first_captions(context.splits.train, settings.pairs), whole_range(context, settings.pairs)
    problem = OneStepProblem.of(
        matching_problem(context, experts, captions, phase, shortcut=True, seed=analysis_seed(context))
    )
    epochs, between = context.config.teacher.epochs, phase.range_end * settings.fractions
    starts: dict[PathName, list[float]] = {
        name: [n / settings.fractions for n in range(0, between + 1, _stride(name, settings))] for name in NAMES
    }
    state = work / "gradients.safetensors"
    inner = load_tensors(state) if state.is_file() else {}
    total = len(experts) * sum(len(places) for places in starts.values())
    with context.counting("Gradients", total) as tally:
        for name, places in starts.items():
            for number, expert in enumerate(experts):
                key = f"{name}/{number}"
                tally.say(key)
                if key not in inner:
                    path = _path(name, expert, epochs, context.device)
                    inner[key] = gram(torch.stack([problem.gradient(path, start) for start in places])).cpu()
                    save_tensors(state, inner)
                tally.advance(len(places))
    line = _path("line", experts[0], epochs, context.device)
    bound = _bound(context, problem, line, settings, phase.range_end, work / "terms.json")
    found: dict[PathName, Differences] = {}
    for name, places in starts.items():
        of_experts = [inner[f"{name}/{number}"] for number in range(len(experts))]
        apart = torch.stack([distances(one) for one in of_experts])
        norms = torch.stack([one.diagonal().clamp_min(0).sqrt() for one in of_experts])
        found[name] = Differences(places, apart, norms)
    return Proposition(found, bound)


def _stride(name: PathName, settings: PropositionAnalysis) -> int:
    return settings.fractions if name == "original" else 1


def _bound(
    context: RunContext,
    problem: OneStepProblem,
    line: TeacherPath,
    settings: PropositionAnalysis,
    latest: int,
    known: Path,
) -> Bound:
    nodes = sorted({round(latest * number / (NODES - 1)) for number in range(NODES)})
    keys = (field.name for field in fields(BoundTerms))
    terms = [BoundTerms(**term) for term in read_list(known, *keys)] if known.is_file() else []
    with context.counting("Terms of the bound", len(nodes), len(terms)) as tally:
        for start in nodes[len(terms) :]:
            tally.say(f"start {start}")
            terms.append(problem.bound_terms(line, start, 1 / settings.fractions, settings.iterations))
            write_json(known, [asdict(term) for term in terms])
            tally.advance()
    steps = flat([b - a for a, b in zip(*(line.at(epoch).values() for epoch in (0, 1)), strict=True)])
    rate = max(float(problem.rates.image), float(problem.rates.text))
    return Bound(rate, problem.span, float(steps.double().norm()), terms)


@dataclass(frozen=True)
class Fit:
    """How a difference grows with the distance of the starts, by least squares up to a distance of `NEAR` epochs.

    Attributes:
        slope: of the line through the origin.
        free_slope: of the line that need not go through the origin.
        free_intercept: where that line starts.
        exponent: of the power law up to a distance of one epoch, or None without two distances there.
    """

    slope: float
    free_slope: float
    free_intercept: float
    exponent: float | None


def fit(apart: list[float], differences: list[float]) -> Fit:
    """Fit lines and a power law to differences by distance.

    Example:
        >>> fit([0.5, 1.0, 2.0], [1.0, 2.0, 4.0])
        Fit(slope=2.0, free_slope=2.0, free_intercept=0.0, exponent=1.0)
    """
    near = [(x, y) for x, y in zip(apart, differences, strict=True) if x <= NEAR]
    slope = sum(x * y for x, y in near) / sum(x * x for x, _ in near)
    free_slope, free_intercept = _line(near)
    nearest = [(log(x), log(y)) for x, y in near if x <= 1 and y > 0]
    exponent = _line(nearest)[0] if len(nearest) > 1 else None
    return Fit(slope, free_slope, free_intercept, exponent)


def _line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Return slope and intercept by least squares; a single point has slope 0."""
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    square = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / square if square else 0.0
    return slope, mean_y - slope * mean_x


def difference_rows(measured: Proposition) -> Iterator[dict[str, Cell]]:
    """Yield the differences, one row for each path and distance of the starts."""
    for name, differences in measured.differences.items():
        for apart, values in differences.by_distance():
            yield {
                "path": name,
                "distance_of_starts": apart,
                "difference": float(values.mean()),
                "lowest": float(values.min()),
                "highest": float(values.max()),
                "difference_over_mean_norm": float(values.mean() / differences.norms.mean()),
                "pairs_of_starts": values.numel(),
                "bound_as_printed_lower_estimate": measured.bound.printed * apart,
                "bound_of_step_iii_lower_estimate": measured.bound.derived * apart,
            }


def term_rows(bound: Bound) -> Iterator[dict[str, Cell]]:
    """Yield the bound's terms, one row for each start."""
    for term in bound.terms:
        yield asdict(term)


def summarise_proposition(measured: Proposition) -> dict[str, Any]:
    """Return the numbers that the figures come down to."""
    found: dict[str, Any] = {}
    for name, differences in measured.differences.items():
        by_distance = differences.by_distance()
        means, norm = [float(values.mean()) for _, values in by_distance], float(differences.norms.mean())
        found[name] = {
            **asdict(fit([apart for apart, _ in by_distance], means)),
            "steepest": max(float(values.max()) / apart for apart, values in by_distance),
            "mean_norm": norm,
            "over_mean_norm_one_epoch_apart": next(
                (float(values.mean()) / norm for apart, values in by_distance if apart == 1), None
            ),
        }
    bound, steepest = measured.bound, measured.differences["line"].steepest(0)
    found["bound"] = {
        "note": "K is a lower estimate: power iterations at a few starts see its terms from below; first expert only",
        "eta": bound.rate,
        "span": bound.span,
        "epoch_step": bound.epoch_step,
        "hessian_lipschitz": max(term.hessian_change for term in bound.terms),
        "hessian": max(term.hessian for term in bound.terms),
        "mixed": max(term.mixed for term in bound.terms),
        "mixed_change": max(term.mixed_change for term in bound.terms),
        "direction_change": max(term.direction_change for term in bound.terms),
        "k_as_printed_lower_estimate": bound.printed,
        "k_of_step_iii_lower_estimate": bound.derived,
        "line_steepest_of_first_expert": steepest,
        "line_within_k_as_printed": steepest <= bound.printed,
        "line_within_k_of_step_iii": steepest <= bound.derived,
    }
    return found
