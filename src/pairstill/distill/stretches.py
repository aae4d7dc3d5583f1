"""The stretches of the teachers that an outer step draws, and the randomness of the student along them."""

from dataclasses import dataclass, replace

import torch

from pairstill.config import DistillConfig, PhaseConfig
from pairstill.distill.inner_loop import InnerStep, draw_batches
from pairstill.model.dual_encoder import Blend, DropoutMasks, ModelFactory
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


@dataclass(frozen=True)
class Draws:
    """All that is drawn in the outer steps of a phase.

    Attributes:
        seed: seed of the distillation.
        number: the phase's number, from 1.
        phase: its settings.
        config: the distillation's settings.
        factory: draws the dropout masks, and says which device to use.
        experts: how many there are.
    """

    seed: int
    number: int
    phase: PhaseConfig
    config: DistillConfig
    factory: ModelFactory
    experts: int

    def stretches(self, step: int) -> list[Stretch]:
        """Return the stretches of an outer step (from 0); the same whenever they are drawn."""
        draw = generator(self.seed, "phase", self.number, "step", step)
        stretches = []
        for _ in range(self.config.trajectories_per_step):
            expert = int(torch.randint(self.experts, (), generator=draw))
            epoch = self._start(step, draw)
            stretches.append(Stretch(expert, epoch, self.inner_steps(draw)))
        return stretches

    def inner_steps(self, draw: torch.Generator) -> list[InnerStep]:
        """Return mini-batches and masks of a student's inner steps."""
        config, device = self.config, self.factory.device
        pairs, least = self.phase.num_pairs, least_pairs(config.loss)
        batches = draw_batches(pairs, config.batch_size, config.inner_steps, draw, least=least)
        return [InnerStep(index.to(device), self._masks(len(index), draw)) for index in batches]

    def _start(self, step: int, draw: torch.Generator) -> float:
        config, phase = self.config, self.phase
        first, last = phase.range_start, config.last_start(phase)
        growing = config.range_growth * phase.outer_steps
        share = 1.0 if step >= growing else step / growing
        if config.start_sampling == "continuous":
            return first + (last - first) * share * float(torch.rand((), generator=draw))
        return int(torch.randint(first, first + int((last - first) * share) + 1, (), generator=draw))

    def _masks(self, pairs: int, draw: torch.Generator) -> DropoutMasks | None:
        masks = self.factory.draw_masks(pairs, draw)
        if not self.config.blend:
            return masks
        device = self.factory.device
        # Beta(1, 1) is uniform
        blend = Blend(torch.rand((), generator=draw).to(device), torch.randperm(pairs, generator=draw).to(device))
        return replace(masks or DropoutMasks(None, None), blend=blend)
