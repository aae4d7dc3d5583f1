"""A row of the paper scaled down: what makes it this row, with the data, towers and sizes of a small base."""

from dataclasses import replace
from typing import Any

from pairstill.config import MethodConfig, PhaseConfig, RunConfig, TrajectoryConfig
from pairstill.methods import with_method
from pairstill.methods.shared import own_settings

PAIRS = 500
"""Pairs of the paper's rows that a base stands for; similarities are worth one of them."""
STEPS = 2000
"""Outer steps of each of their phases."""
PARTS = (
    "phased",
    "shortcut",
    "ema",
    "range_reading",
    "start_sampling",
    "range_growth",
    "matching_span",
    "loss",
    "blend",
    "matching",
    "init",
)
"""The settings of a distillation that a row is about."""


def scaled(row: RunConfig, base: RunConfig) -> RunConfig:
    """Return the settings of a row of the paper at the size of a base.

    The row gives its method, the parts of its distillation, the epochs of every phase and what is measured; its pairs,
    clusters and steps are multiplied by the base's share of 500 pairs and of 2,000 steps a phase. Everything else, the
    kind of the similarities and the outer optimiser among it, is the base's, unless the method has its own.

    Args:
        row: settings of a row of the paper.
        base: settings of the row PTM-ST at 500 pairs as it is at this size; scaled down, that row is `base`.

    Example:
        At a base of 80 + 119 pairs and 16 steps a phase, 499 pairs in one phase of 4,000 steps become 199 and 32.
    """
    row, distill = with_method(row), base.matching

    def pairs(count: int) -> int:
        return count * (distill.num_pairs + 1) // PAIRS

    def of_row(phase: PhaseConfig) -> PhaseConfig:
        steps = max(1, phase.outer_steps * distill.phases[0].outer_steps // STEPS)
        return replace(phase, num_pairs=pairs(phase.num_pairs), outer_steps=steps)

    longest = max(phase.outer_steps for phase in row.distill.phases)
    parts: dict[str, Any] = {}
    if isinstance(row.distill, TrajectoryConfig):
        parts = {name: getattr(row.distill, name) for name in PARTS}
    small = replace(
        distill,
        **{"phased": False, **parts},
        phases=tuple(of_row(phase) for phase in row.distill.phases),
        features_first=replace(distill.features_first, steps=distill.features_first.steps * longest // STEPS),
    )
    own: MethodConfig = own_settings(replace(base, method=row.method, distill=small), type(row.distill))
    own = own.at_scale(row.distill, pairs)
    random = row.evaluate.references.random_pairs
    references = replace(base.evaluate.references, random_pairs=None if random is None else pairs(random))
    evaluate = replace(base.evaluate, methods=row.evaluate.methods, references=references)
    return with_method(replace(base, method=row.method, distill=own, evaluate=evaluate))
