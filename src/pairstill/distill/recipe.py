"""What a method distils, and for what: pairs of a parametrisation, moved by an objective."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from pairstill.config import DistillConfig, PhaseConfig, RunConfig
from pairstill.data.manifest import Manifest
from pairstill.distill.initial import InitialPairs, initial_pairs
from pairstill.distill.learned import Parametrisation
from pairstill.distill.objective import Objective
from pairstill.distill.pairs import Pixels, PlainPairs
from pairstill.distill.paths import ExpertPaths
from pairstill.distill.similarity import Similarity
from pairstill.distill.solvers import Choice
from pairstill.distill.trajectory_objective import TrajectoryObjective
from pairstill.encoders.split import EncodedSplit
from pairstill.model.dual_encoder import ModelFactory
from pairstill.ranks import Ranks
from pairstill.rng import derive_seed, generator


@dataclass(frozen=True)
class Stage:
    """Outer steps that an objective is built for.

    Attributes:
        number: the phase's number, from 1.
        phase: its settings, with the outer steps of this stage.
        config: the distillation's settings, as they are in this stage.
        pairs: what the pairs are made of.
        tell: called once with the solver of the hypergradient, by an objective that has one.
    """

    number: int
    phase: PhaseConfig
    config: DistillConfig
    pairs: Parametrisation
    tell: Callable[[Choice], None] = lambda choice: None


@dataclass(frozen=True)
class Recipe:
    """What a method distils.

    Attributes:
        pairs: returns what the pairs of a phase are made of, by the phase's number from 1 and the settings.
        objective: returns what moves them in a stage.
    """

    pairs: Callable[[int, DistillConfig], Parametrisation]
    objective: Callable[[Stage], Objective]


class HasTraining(Protocol):
    """Encoded splits, of which a method sees the training pairs alone."""

    @property
    def train(self) -> EncodedSplit:
        """The training pairs."""
        ...


class HasRidge(Protocol):
    """The student in closed form."""

    @property
    def ridge(self) -> float:
        """What is added to the diagonals of its covariances; validation has chosen it."""
        ...


class Ingredients(Protocol):
    """What a method makes its recipe of; the context of a run has all of it."""

    @property
    def config(self) -> RunConfig:
        """The settings, with the parts that the method sets."""
        ...

    @property
    def manifest(self) -> Manifest:
        """The real pairs as files."""
        ...

    @property
    def splits(self) -> HasTraining:
        """The real pairs, encoded."""
        ...

    @property
    def factory(self) -> ModelFactory:
        """The model, and where it computes."""
        ...

    @property
    def tower(self) -> nn.Module | None:
        """The image tower when it is frozen."""
        ...

    @property
    def closed_form(self) -> HasRidge:
        """The student in closed form."""
        ...

    @property
    def ranks(self) -> Ranks:
        """The processes of the run."""
        ...


def seed_of(config: RunConfig) -> int:
    """Return the seed of everything that a distillation draws."""
    return derive_seed(config.distillation_seed, "distillation")


def draw_initial(given: Ingredients) -> list[InitialPairs]:
    """Return the pairs that phases begin with by the settings: real ones drawn at random, or noise."""
    distill, draw = given.config.loop, generator(given.config.distillation_seed, "initial pairs")
    return initial_pairs(given.manifest, given.splits.train, distill.phases, distill.init, draw)


def pixels_of(
    initial: Sequence[InitialPairs],
    tower: nn.Module | None,
    rates: tuple[float, float],
    seed: int,
    device: torch.device,
) -> Callable[[int, DistillConfig], PlainPairs]:
    """Return what makes pairs of pixels, for a `Recipe`.

    Args:
        initial: the pairs that each phase begins with.
        tower: the frozen tower, or None when it is trained.
        rates: what the inner rates of both sides begin with.
        seed: of the distillation.
        device: where they are.
    """

    def pairs(number: int, config: DistillConfig) -> PlainPairs:
        begin = initial[number - 1]
        similarity = Similarity()
        if config.loss == "wbce":
            draw = generator(seed, "similarity", number)
            similarity = Similarity.initial(config.similarity, len(begin.images), draw)
        return PlainPairs.of(begin, Pixels(tower), similarity, rates, config.outer, device)

    return pairs


def matching_of(
    experts: list[Path], seed: int, factory: ModelFactory, ranks: Ranks | None = None
) -> Callable[[Stage], TrajectoryObjective]:
    """Return what matches trajectories, for a `Recipe`.

    Args:
        experts: the experts' trajectory files.
        seed: of the distillation.
        factory: the model.
        ranks: the processes that share the stretches of a step; None is this one alone.
    """

    def objective(stage: Stage) -> TrajectoryObjective:
        return TrajectoryObjective(
            number=stage.number,
            phase=stage.phase,
            config=stage.config,
            seed=seed,
            factory=factory,
            paths=ExpertPaths(experts, stage.phase, stage.config, factory.device),
            pairs=stage.pairs,
            ranks=ranks or Ranks(),
            tell=stage.tell,
        )

    return objective


def pixels_recipe(
    given: Ingredients, objective: Callable[[Stage], Objective], initial: Sequence[InitialPairs] | None = None
) -> Recipe:
    """Return the recipe of pixels moved by an objective.

    Args:
        given: what a run has.
        objective: the objective.
        initial: what the pairs of each phase begin with; None draws them by the settings.
    """
    config, factory = given.config, given.factory
    begin = draw_initial(given) if initial is None else initial
    pairs = pixels_of(begin, given.tower, config.initial_rates, seed_of(config), factory.device)
    return Recipe(pairs, objective)


def trajectory_recipe(given: Ingredients, experts: list[Path]) -> Recipe:
    """Return the recipe of pixels that match the teachers' trajectories."""
    return pixels_recipe(given, matching_of(experts, seed_of(given.config), given.factory, given.ranks))
