"""The stretches of the teachers that an outer step draws, and the randomness of the student along them."""

from dataclasses import dataclass, replace

import torch

from pairstill.config import DistillConfig, PhaseConfig
from pairstill.distill.inner_loop import InnerStep, draw_batches
from pairstill.distill.problem import PhaseProblem
from pairstill.model.dual_encoder import Blend, DropoutMasks
from pairstill.model.functional import least_pairs
from pairstill.rng import generator


@dataclass(frozen=True)
class Stretch:
    """What an outer step draws: a stretch of a teacher, and how the student goes along it.

    Attributes:
        expert: the expert.
        epoch: the start, in epochs; the target is `matching_span` epochs later.
        steps: the inner steps.
    """

    expert: int
    epoch: float
    steps: list[InnerStep]


def draw_stretches(problem: PhaseProblem, step: int) -> list[Stretch]:
    """Return the stretches of an outer step (from 0); the same whenever they are drawn."""
    config, phase = problem.config, problem.phase
    draw = generator(problem.seed, "phase", problem.number, "step", step)
    stretches = []
    for _ in range(config.trajectories_per_step):
        expert = int(torch.randint(len(problem.paths), (), generator=draw))
        epoch = _draw_start(config, phase, step, draw)
        stretches.append(Stretch(expert, epoch, draw_inner_steps(problem, draw)))
    return stretches


def draw_inner_steps(problem: PhaseProblem, draw: torch.Generator) -> list[InnerStep]:
    """Return mini-batches and masks of a student's inner steps."""
    config, device = problem.config, problem.factory.device
    pairs, least = problem.phase.num_pairs, least_pairs(config.loss)
    batches = draw_batches(pairs, config.batch_size, config.inner_steps, draw, least=least)
    return [InnerStep(index.to(device), _draw_masks(problem, len(index), draw)) for index in batches]


def _draw_start(config: DistillConfig, phase: PhaseConfig, step: int, draw: torch.Generator) -> float:
    first, last = phase.range_start, config.last_start(phase)
    growing = config.range_growth * phase.outer_steps
    share = 1.0 if step >= growing else step / growing
    if config.start_sampling == "continuous":
        return first + (last - first) * share * float(torch.rand((), generator=draw))
    return int(torch.randint(first, first + int((last - first) * share) + 1, (), generator=draw))


def _draw_masks(problem: PhaseProblem, pairs: int, draw: torch.Generator) -> DropoutMasks | None:
    masks = problem.factory.draw_masks(pairs, draw)
    if not problem.config.blend:
        return masks
    device = problem.factory.device
    # Beta(1, 1) is uniform
    blend = Blend(torch.rand((), generator=draw).to(device), torch.randperm(pairs, generator=draw).to(device))
    return replace(masks or DropoutMasks(None, None), blend=blend)
