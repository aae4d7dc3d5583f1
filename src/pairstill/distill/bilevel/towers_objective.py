"""Matching the trajectories of several towers' teachers at once: each segment of an outer step belongs to one tower."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pairstill.distill.bilevel.objective import TrajectoryObjective
from pairstill.distill.bilevel.segments import Segment
from pairstill.distill.learned import Learned, Variable
from pairstill.distill.objective import Stateless, Step
from pairstill.distill.shared_pairs import SharedPairs
from pairstill.events import ModeChosen


@dataclass(frozen=True)
class TowerSegment:
    """A segment of the teachers of one tower.

    Attributes:
        tower: the tower, from 0.
        segment: the segment.
    """

    tower: int
    segment: Segment


@dataclass(frozen=True)
class TowersObjective(Stateless):
    """How far students of the pairs end from where teachers go, over the segments of an outer step, tower by tower.

    The segments are drawn as for one tower, and belong to the towers in turn: segment i of step n to tower
    (n S + i) mod M, with S segments in a step and M towers. What is common moves by the mean over all segments, as if
    they were one tower's; a tower's own rates by the share of its segments.

    Attributes:
        pairs: what the pairs are made of.
        towers: the objective of each tower, on its view of the pairs; they differ in model, teachers and view alone.
    """

    pairs: SharedPairs
    towers: tuple[TrajectoryObjective, ...]

    def variables(self) -> dict[str, Variable]:
        """Return what the pairs are made of."""
        return self.pairs.variables()

    def decisions(self) -> list[ModeChosen]:
        """Return the way of the hypergradient of each tower."""
        return [chosen for tower in self.towers for chosen in tower.decisions()]

    def tower_segments(self, number: int) -> list[TowerSegment]:
        """Return the segments of an outer step (from 0); the same whenever they are drawn."""
        segments = self.towers[0].draws.segments(number)
        first = number * len(segments)
        return [TowerSegment((first + i) % len(self.towers), segment) for i, segment in enumerate(segments)]

    def step(self, values: Learned, number: int) -> Iterator[Step]:
        """Return the one move of an outer step: the mean over its segments, of which each process takes its share."""
        first = self.towers[0]
        tower_segments = self.tower_segments(number)
        upcoming = self.tower_segments(number + 1) if number + 1 < first.phase.outer_steps else []
        mine = first.world.shard(tower_segments)
        soon = [*first.world.shard(upcoming), *mine]
        for tower, objective in enumerate(self.towers):
            objective.paths.prefetch(
                [tower_segment.segment.expert for tower_segment in soon if tower_segment.tower == tower]
            )
        losses, gradients = self.gradients(values, mine)
        notes = {
            "towers": [tower_segment.tower for tower_segment in tower_segments],
            "experts": [tower_segment.segment.expert for tower_segment in tower_segments],
            "start_epochs": [tower_segment.segment.epoch for tower_segment in tower_segments],
        }
        yield Step(losses, gradients, notes)

    def gradients(
        self, values: Learned, tower_segments: Sequence[TowerSegment]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the losses by part, and the gradients of all that is learned, as means over the segments.

        What no segment depends on, such as the rates of a tower that has none, has the gradient 0.
        """
        gradients = {name: torch.zeros_like(value) for name, value in values.items()}
        losses: dict[str, Tensor] = {}
        for tower, objective in enumerate(self.towers):
            own = [tower_segment.segment for tower_segment in tower_segments if tower_segment.tower == tower]
            if not own:
                continue
            share = len(own) / len(tower_segments)
            found_losses, found = objective.gradients(values, own)
            for part, value in found_losses.items():
                losses[part] = losses.get(part, torch.zeros_like(value)) + share * value
            for name, value in found.items():
                gradients[name] += share * value
        return losses, gradients
