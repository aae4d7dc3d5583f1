"""The segments of the teachers that an outer step draws, and the randomness of the student along them."""

from dataclasses import dataclass, replace

import torch

from pairstill.config import PhaseConfig, TrajectoryConfig
from pairstill.core.rng import make_generator
from pairstill.distill.bilevel.inner_loop import InnerStep, draw_batches
from pairstill.model.dual_encoder import Blend, DropoutMasks, ModelFactory
from pairstill.model.functional import least_pairs


@dataclass(frozen=True)
class Segment:
    """What an outer step draws: a segment of a teacher, and how the student goes along it.

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
    config: TrajectoryConfig
    factory: ModelFactory
    experts: int

    def segments(self, step: int) -> list[Segment]:
        """Return the segments of an outer step (from 0); the same whenever they are drawn."""
        generator = make_generator(self.seed, "phase", self.number, "step", step)
        segments = []
        for _ in range(self.config.trajectories_per_step):
            expert = int(torch.randint(self.experts, (), generator=generator))
            epoch = self._start(step, generator)
            segments.append(Segment(expert, epoch, self.inner_steps(generator)))
        return segments

    def inner_steps(self, generator: torch.Generator) -> list[InnerStep]:
        """Return mini-batches and masks of a student's inner steps."""
        config, device = self.config, self.factory.device
        pairs, least = self.phase.num_pairs, least_pairs(config.loss)
        batches = draw_batches(pairs, config.batch_size, config.inner_steps, generator, least=least)
        return [InnerStep(index.to(device), self._masks(len(index), generator)) for index in batches]

    def _start(self, step: int, generator: torch.Generator) -> float:
        config, phase = self.config, self.phase
        first, last = phase.range_start, config.last_start(phase)
        growing = config.range_growth * phase.outer_steps
        share = 1.0 if step >= growing else step / growing
        if config.start_sampling == "continuous":
            return first + (last - first) * share * float(torch.rand((), generator=generator))
        return int(torch.randint(first, first + int((last - first) * share) + 1, (), generator=generator))

    def _masks(self, pairs: int, generator: torch.Generator) -> DropoutMasks | None:
        masks = self.factory.draw_masks(pairs, generator)
        if not self.config.blend:
            return masks
        device = self.factory.device
        # Beta(1, 1) is uniform
        blend = Blend(
            torch.rand((), generator=generator).to(device), torch.randperm(pairs, generator=generator).to(device)
        )
        return replace(masks or DropoutMasks(None, None), blend=blend)
