"""Matching teachers' trajectories: the losses of an outer step's segments, and their gradients through inner loops."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from pairstill.config import PhaseConfig, TrajectoryConfig
from pairstill.core.world import World
from pairstill.distill.bilevel.inner_loop import InnerLoop, LinearSides, LossHalves
from pairstill.distill.bilevel.matching import matching_losses
from pairstill.distill.bilevel.segments import Draws, Segment
from pairstill.distill.bilevel.solvers import Choice, Hypergradient, Solver, choose, mean_hypergradient
from pairstill.distill.bilevel.step_derivative import StepGraph, step_graph
from pairstill.distill.learned import Learned, Pairs, Parametrisation, Variable, initial_values
from pairstill.distill.objective import Stateless, Step
from pairstill.events import ModeChosen
from pairstill.model.dual_encoder import DropoutMasks, DualEncoder, ModelFactory, Parameters
from pairstill.model.functional import embed_images, embedded_pair_loss, loss_of_embeddings, pair_loss
from pairstill.teachers.shortcut import TeacherPaths


@dataclass(frozen=True)
class TrajectoryObjective(Stateless):
    """How far students of the pairs end from where teachers go, over the segments of an outer step.

    Attributes:
        number: the phase's number, from 1.
        phase: its settings.
        config: the distillation's settings.
        seed: seed of the distillation.
        factory: the model.
        paths: the teachers' paths.
        pairs: what the pairs are made of.
        world: the processes that share the segments of a step; all hold the same values.
    """

    number: int
    phase: PhaseConfig
    config: TrajectoryConfig
    seed: int
    factory: ModelFactory
    paths: TeacherPaths
    pairs: Parametrisation
    world: World = World()

    def variables(self) -> dict[str, Variable]:
        """Return what the pairs are made of."""
        return self.pairs.variables()

    def step(self, values: Learned, number: int) -> Iterator[Step]:
        """Return the one move of an outer step: the mean over its segments, of which each process takes its share."""
        segments = self.draws.segments(number)
        upcoming = self.draws.segments(number + 1) if number + 1 < self.phase.outer_steps else []
        mine = self.world.shard(segments)
        self.paths.prefetch([segment.expert for segment in [*self.world.shard(upcoming), *mine]])
        losses, gradients = self.gradients(values, mine)
        notes = {
            "experts": [segment.expert for segment in segments],
            "start_epochs": [segment.epoch for segment in segments],
        }
        yield Step(losses, gradients, notes)

    def gradients(
        self, values: Learned, segments: Sequence[Segment], solver: Solver | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the losses by part, and the gradients of all that they depend on, as means over the segments.

        A frozen tower is run once: the inner loops see its features, and one vector-Jacobian product takes their
        gradient back to the pixels.

        Args:
            values: of every variable.
            segments: the segments.
            solver: the way of the hypergradient; None takes that of the settings.
        """
        pairs, solver = self.pairs.render(values), solver or self.solver
        found = mean_hypergradient([solver(self.inner_loop(pairs, segment)) for segment in segments])
        return found.losses, _pulled_back(pairs, found, values)

    @cached_property
    def model(self) -> DualEncoder:
        """The structure of the student."""
        return self.factory.build()

    @cached_property
    def draws(self) -> Draws:
        """What is drawn in the outer steps."""
        return Draws(self.seed, self.number, self.phase, self.config, self.factory, len(self.paths))

    @property
    def solver(self) -> Solver:
        """The way of the hypergradient."""
        return self.choice.solver

    def decisions(self) -> tuple[ModeChosen]:
        """Return which way of the hypergradient the settings or the memory have chosen."""
        mode, choice = self.choice.solver.mode, self.choice
        return (ModeChosen(mode=mode, stored_bytes=choice.stored_bytes, limit_bytes=choice.limit_bytes),)

    @cached_property
    def choice(self) -> Choice:
        """The way of the hypergradient, and why; where memory decides, by the graph of the phase's first inner step."""

        def build_one_graph() -> StepGraph:
            with torch.no_grad():
                pairs = self.pairs.render(initial_values(self.variables()))
            loop = self.inner_loop(pairs, self.draws.segments(0)[0])
            return step_graph(loop.loss, loop.start, loop.data, loop.steps[0])

        return choose(self.config.hypergradient, self.factory, build_one_graph, self.config.inner_steps)

    def inner_loop(self, pairs: Pairs, segment: Segment) -> InnerLoop:
        """Return the student's way along one segment."""

        def loss(parameters: Parameters, x: Tensor, y: Tensor, s: Tensor, masks: DropoutMasks | None) -> Tensor:
            return pair_loss(self.model, parameters, (x, y, s), self.config.loss, masks)

        path = self.paths[segment.expert]
        start, target = path.at(segment.epoch), path.at(segment.epoch + self.config.matching_span)

        def matching(end: Parameters) -> dict[str, Tensor]:
            return matching_losses(end, start, target, self.config.matching)

        linear = self._linear_sides(target)
        return InnerLoop(
            loss=loss,
            start=start,
            data=pairs.data,
            rates=pairs.rates,
            steps=segment.steps,
            matching=matching,
            halves=self._halves(),
            linear=linear,
        )

    def _linear_sides(self, target: Parameters) -> LinearSides | None:
        """Return what the inner loop is when only linear heads are trained, or None when more is."""
        if not self.factory.only_linear_heads:
            return None

        def loss(u: Tensor, v: Tensor, s: Tensor, masks: DropoutMasks | None) -> Tensor:
            if masks is not None and masks.blend is not None:
                u, v = masks.blend.of(u), masks.blend.of(v)  # linear heads: as good as blending what they are given
            return loss_of_embeddings(u, v, s, self.config.loss, self.model.info_nce)

        return LinearSides(loss, target, self.config.matching)

    def _halves(self) -> LossHalves:
        def loss(parameters: Parameters, u: Tensor, y: Tensor, s: Tensor, masks: DropoutMasks | None) -> Tensor:
            return embedded_pair_loss(self.model, parameters, (u, y, s), self.config.loss, masks)

        return LossHalves(partial(embed_images, self.model), loss)


def _pulled_back(pairs: Pairs, found: Hypergradient, values: Learned) -> dict[str, Tensor]:
    """Return the gradients for what is learned, from those for the pairs as the student sees them."""
    seen = [
        (pairs.data.images, found.images),
        (pairs.data.texts, found.texts),
        (pairs.data.similarity, found.similarity),
        (pairs.rates.image, found.inner_lr_image),
        (pairs.rates.text, found.inner_lr_text),
    ]
    outputs, given = zip(*((output, gradient) for output, gradient in seen if output.requires_grad), strict=True)
    gradients = torch.autograd.grad(outputs, list(values.values()), given, allow_unused=True)
    return {name: gradient for name, gradient in zip(values, gradients, strict=True) if gradient is not None}
