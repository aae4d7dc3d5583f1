"""Which solver is taken: the one that the settings name, or for `auto` the fastest exact one that fits into memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pairstill.config import Derivative, HypergradientConfig, Mode
from pairstill.distill.bilevel.memory import device_bytes, saved_bytes
from pairstill.distill.bilevel.micro_batches import InMicroBatches
from pairstill.distill.bilevel.solvers.base import Solver
from pairstill.distill.bilevel.solvers.recompute import ExactRecompute, Truncated
from pairstill.distill.bilevel.solvers.span import ExactSpan
from pairstill.distill.bilevel.solvers.store import ExactStore
from pairstill.distill.bilevel.solvers.unrolled import Unrolled
from pairstill.distill.bilevel.step_derivative import DoubleBackward, ForwardOverReverse, StepWay
from pairstill.model.dual_encoder import ModelFactory

SOLVERS: dict[Mode, type[Solver]] = {
    solver.mode: solver for solver in (ExactSpan, ExactStore, ExactRecompute, Truncated, Unrolled)
}


@dataclass(frozen=True)
class Choice:
    """Which solver is used, and the estimate that chose it.

    Attributes:
        solver: the solver.
        stored_bytes: what storing the graphs of all inner steps would take, or None when the settings decide alone.
        limit_bytes: what the settings allow for it, likewise.
    """

    solver: Solver
    stored_bytes: int | None = None
    limit_bytes: int | None = None


def solver(mode: Mode, derivative: Derivative = "double_backward", micro_batch: int | None = None) -> Solver:
    """Return the solver of a mode.

    Args:
        mode: the mode.
        derivative: how `exact_recompute` and `truncated` differentiate a step; the others are double backward by
            nature.
        micro_batch: images that those two take through the tower at a time, by double backward; None takes all.
    """
    kind = SOLVERS[mode]
    if not issubclass(kind, ExactRecompute):
        return kind()
    if micro_batch is not None:
        return kind(InMicroBatches(micro_batch))
    ways: dict[Derivative, StepWay] = {
        "double_backward": DoubleBackward(),
        "forward_over_reverse": ForwardOverReverse(),
    }
    return kind(ways[derivative])


def choose(
    config: HypergradientConfig,
    factory: ModelFactory,
    build_one_graph: Callable[[], Any],
    inner_steps: int,
) -> Choice:
    """Return the solver that the settings name, or for `auto` the exact one that fits.

    The choice depends on the whole memory, not on what is free just now, so that a run that goes on on the same
    machine takes the same one.

    Args:
        config: the settings.
        factory: the model, and where it is.
        build_one_graph: makes the graph of one inner step; called only where memory decides.
        inner_steps: graphs that would be stored.

    Raises:
        ConfigError: options contradict each other, or the model.
    """
    modes = config.modes(trained=factory.trainable, linear=factory.only_linear_heads)
    mode, stored, limit = modes[0], None, None
    if len(modes) > 1:
        stored, limit = saved_bytes(build_one_graph) * inner_steps, _limit(config, factory.device)
        mode = modes[0] if stored <= limit else modes[1]
    return Choice(solver(mode, config.derivative, config.micro_batch), stored, limit)


def _limit(config: HypergradientConfig, device: torch.device) -> int:
    return int(config.memory * device_bytes(device))
