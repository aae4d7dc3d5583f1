"""What a method distils, and for what: pairs of a parametrisation, moved by an objective."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from pairstill.config import PhaseConfig, RunConfig, TrajectoryConfig
from pairstill.core.rng import derive_seed, make_generator
from pairstill.core.world import World
from pairstill.data.manifest import Manifest
from pairstill.distill.bilevel.objective import TrajectoryObjective
from pairstill.distill.bilevel.towers_objective import TowersObjective
from pairstill.distill.features_first import features_of
from pairstill.distill.initial import InitialPairs, draw_pairs, initial_pairs, real_pairs, with_mixture, with_photos
from pairstill.distill.learned import Parametrisation
from pairstill.distill.mixture import nearest
from pairstill.distill.objective import Objective
from pairstill.distill.pairs import Kept, Pixels, PlainPairs
from pairstill.distill.shared_pairs import SharedPairs
from pairstill.distill.similarity import Similarity
from pairstill.distilled.real import decoded
from pairstill.encoders.pixel_space import PixelSpace, TowerOfSpace
from pairstill.encoders.split import EncodedSplit
from pairstill.model.dual_encoder import ModelFactory
from pairstill.teachers.shortcut import ExpertPaths


@dataclass(frozen=True)
class Stage:
    """Outer steps that an objective is built for.

    Attributes:
        number: the phase's number, from 1.
        phase: its settings, with the outer steps of this stage.
        config: the distillation's settings, as they are in this stage.
        pairs: what the pairs are made of.
    """

    number: int
    phase: PhaseConfig
    config: TrajectoryConfig
    pairs: Parametrisation


@dataclass(frozen=True)
class Recipe:
    """What a method distils.

    Attributes:
        pairs: returns what the pairs of a phase are made of, by the phase's number from 1 and the settings.
        objective: returns what moves them in a stage.
    """

    pairs: Callable[[int, TrajectoryConfig], Parametrisation]
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
    def world(self) -> World:
        """The processes of the run."""
        ...

    def chosen(self, name: str, choose: Callable[[], Sequence[Tensor]]) -> list[Tensor]:
        """Return a choice among the real pairs, which is made once: on the main process, for all sittings of the run.

        Args:
            name: of the choice.
            choose: makes it: the numbers of each phase.
        """
        ...


def seed_of(config: RunConfig) -> int:
    """Return the seed of everything that a distillation draws."""
    return derive_seed(config.distillation_seed, "distillation")


def draw_initial(
    given: Ingredients, drawn: Sequence[Tensor] | None = None, space: PixelSpace | None = None
) -> list[InitialPairs]:
    """Return the pairs that phases begin with by the settings: real ones, or noise.

    Args:
        given: what a run has.
        drawn: caption numbers of the real pairs of each phase; None draws them at random.
        space: the space that their images are in; None takes the tower's own.
    """
    distill, generator = given.config.loop, make_generator(given.config.distillation_seed, "initial pairs")
    manifest, train = given.manifest, given.splits.train
    if space is not None:
        train = replace(train, spec=replace(train.spec, size=space.size, mean=space.mean, std=space.std))
    if distill.init == "noise":
        return initial_pairs(manifest, train, distill.phases, distill.init, generator)
    drawn = draw_pairs(train, [phase.num_pairs for phase in distill.phases], generator) if drawn is None else drawn
    found = [real_pairs(manifest, train, captions) for captions in drawn]
    if distill.images == "kept":
        found = [with_photos(pairs, manifest) for pairs in found]
    if distill.texts == "mixture":
        count = distill.mixture.candidates
        candidates = given.chosen(
            "candidates", lambda: [nearest(train.texts(own), train.text_batches(), count, own) for own in drawn]
        )
        numbered = zip(found, candidates, strict=True)
        found = [with_mixture(pairs, manifest, train, rows, distill.mixture) for pairs, rows in numbered]
    return found


def pixels_of(
    initial: Sequence[InitialPairs],
    tower: nn.Module | None,
    rates: tuple[float, float],
    seed: int,
    device: torch.device,
) -> Callable[[int, TrajectoryConfig], PlainPairs]:
    """Return what makes pairs of pixels, for a `Recipe`.

    Args:
        initial: the pairs that each phase begins with.
        tower: the frozen tower, or None when it is trained.
        rates: what the inner rates of both sides begin with.
        seed: of the distillation.
        device: where they are.
    """

    def pairs(number: int, config: TrajectoryConfig) -> PlainPairs:
        begin = initial[number - 1]
        similarity = Similarity()
        if config.loss == "wbce":
            generator = make_generator(seed, "similarity", number)
            similarity = Similarity.initial(config.similarity, len(begin.images), generator)
        kind = Pixels(tower)
        if config.images == "kept":
            kind = Kept(begin.images, begin.photos)
            if tower is not None:  # several towers have features of their own
                begin = replace(begin, images=features_of(tower, begin.images.to(device)))
        return PlainPairs.of(begin, kind, similarity, rates, config.outer, device)

    return pairs


def matching_of(
    experts: list[Path], seed: int, factory: ModelFactory, world: World | None = None
) -> Callable[[Stage], TrajectoryObjective]:
    """Return what matches trajectories, for a `Recipe`.

    Args:
        experts: the experts' trajectory files.
        seed: of the distillation.
        factory: the model.
        world: the processes that share the segments of a step; None is this one alone.
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
            world=world or World(),
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


def towers_recipe(
    given: Sequence[Ingredients],
    experts: Sequence[list[Path]],
    space: PixelSpace,
    initial: Sequence[InitialPairs] | None = None,
    drawn: Sequence[Tensor] | None = None,
) -> Recipe:
    """Return the recipe of common pixels, or photos, that match the trajectories of several frozen towers' teachers.

    Args:
        given: what a run has with each tower alone.
        experts: the files of each tower's teachers.
        space: the space of the common pixels.
        initial: what the pairs of each phase begin with; None draws them by the settings.
        drawn: caption numbers of the real pairs that each phase begins with otherwise; None draws them.
    """
    first = given[0]
    config, device, seed = first.config, first.factory.device, seed_of(first.config)
    begin = draw_initial(first, drawn, space) if initial is None else initial
    plain = pixels_of(begin, None, config.initial_rates, seed, device)
    towers = [TowerOfSpace(_frozen(one), PixelSpace.of_encoder(one.factory.encoder.spec), space) for one in given]
    matching = [matching_of(files, seed, one.factory, one.world) for one, files in zip(given, experts, strict=True)]

    def pairs(number: int, settings: TrajectoryConfig) -> SharedPairs:
        common = plain(number, settings)
        if not isinstance(common.kind, Kept):
            return SharedPairs.of(common, towers)
        return SharedPairs.of_photos(common, [_seen(one, common.kind.photos) for one in given])

    def objective(stage: Stage) -> TowersObjective:
        assert isinstance(stage.pairs, SharedPairs), "the pairs of this recipe"
        own = zip(matching, stage.pairs.views, strict=True)
        return TowersObjective(stage.pairs, tuple(of(replace(stage, pairs=view)) for of, view in own))

    return Recipe(pairs, objective)


def _seen(given: Ingredients, photos: Sequence[bytes]) -> Tensor:
    """Return the features of photos by the image tower, (photos, width)."""
    pixels = decoded(photos, given.factory.encoder.spec.to_json(), given.manifest.background)
    return features_of(_frozen(given), pixels.to(given.factory.device))


def _frozen(given: Ingredients) -> nn.Module:
    """Return the image tower, which is frozen."""
    assert given.tower is not None, "the settings refuse several towers that are not frozen"
    return given.tower


def trajectory_recipe(given: Ingredients, experts: list[Path], drawn: Sequence[Tensor] | None = None) -> Recipe:
    """Return the recipe of pairs that match the teachers' trajectories.

    Args:
        given: what a run has.
        experts: the experts' trajectory files.
        drawn: caption numbers of the real pairs that each phase begins with; None draws them.
    """
    objective = matching_of(experts, seed_of(given.config), given.factory, given.world)
    return pixels_recipe(given, objective, draw_initial(given, drawn))
