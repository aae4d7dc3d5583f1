"""Which photos a run keeps, by its settings."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from torch import Tensor

from pairstill.config import FeaturesFirstConfig, OuterConfig
from pairstill.core.rng import derive_seed, make_generator
from pairstill.distill.coreset import candidates, herding, joint_features
from pairstill.distill.initial import InitialPairs
from pairstill.distill.learned import initial_values
from pairstill.distill.pairs import Features, PlainPairs
from pairstill.distill.photos import dealt, greedily, nearest_to_centres
from pairstill.distill.recipe import Ingredients, Stage, matching_of
from pairstill.distill.similarity import Similarity
from pairstill.teachers.trajectory import parameters_after

if TYPE_CHECKING:
    from collections.abc import Callable

SEGMENTS = 4
"""Segments over which `matching` averages the loss of a choice."""


def chosen_photos(given: Ingredients, experts: Sequence[Path]) -> list[Tensor]:
    """Return the caption numbers of the pairs whose photos each phase keeps.

    They are chosen once, see `Ingredients.chosen`.

    Args:
        given: what a run has.
        experts: the teachers' files.

    Raises:
        ArtifactError: the run has chosen other numbers of pairs before, or others of its data.
        DataError: the training split has fewer images than pairs are asked for.
    """
    _ = given.splits, given.factory  # all processes together, before the main one goes on alone
    return given.chosen("photos", lambda: _choice(given, experts))


def _choice(given: Ingredients, experts: Sequence[Path]) -> list[Tensor]:
    distill, train, seed = given.config.loop, given.splits.train, given.config.distillation_seed
    sizes = [phase.num_pairs for phase in distill.phases]
    generator = make_generator(seed, "photos")
    open_pairs = candidates(train, sum(sizes), generator)
    match distill.photos.choose:
        case "random":
            rows = open_pairs[: sum(sizes)]
        case "herding":
            rows = open_pairs[herding(_features(given, experts, open_pairs), sum(sizes))]
        case "k_means":
            features = _features(given, experts, open_pairs)
            rows = open_pairs[nearest_to_centres(features, sum(sizes), derive_seed(seed, "photos"))]
        case "matching":
            loss, photos = _matching_loss(given, list(experts), open_pairs), distill.photos
            rows = open_pairs[greedily(len(open_pairs), sum(sizes), photos.groups, photos.proposals, loss, generator)]
        case _:
            assert_never(distill.photos.choose)
    return dealt(rows, sizes, seed)


def _features(given: Ingredients, experts: Sequence[Path], captions: Tensor) -> Tensor:
    """Return the joint features of pairs by the first teacher at the first phase's endpoint."""
    endpoint = given.config.loop.phases[0].endpoint
    parameters = parameters_after(experts[0], endpoint, given.factory.device)
    return joint_features(given.factory.build(), parameters, given.splits.train, captions)


def _matching_loss(given: Ingredients, experts: list[Path], captions: Tensor) -> "Callable[[Tensor], float]":
    """Return the matching loss of some of the pairs as they are, over a few segments of the first phase."""
    distill, train, seed = given.config.loop, given.splits.train, derive_seed(given.config.distillation_seed, "photos")
    outer = OuterConfig()

    def loss(rows: Tensor) -> float:
        chosen = captions[rows]
        phase = replace(distill.phases[0], num_pairs=len(rows))
        config = replace(distill, phases=(phase,), trajectories_per_step=SEGMENTS, features_first=FeaturesFirstConfig())
        unnamed = ("",) * len(rows)
        begin = InitialPairs(train.image_inputs(train.caption_owner[chosen]), train.texts(chosen), unnamed, unnamed)
        similarity = Similarity()
        if distill.loss == "wbce":
            similarity = Similarity.initial(distill.similarity, len(rows), make_generator(seed, "similarity"))
        rates = given.config.initial_rates
        pairs = PlainPairs.of(begin, Features(), similarity, rates, outer, given.factory.device)
        objective = matching_of(experts, seed, given.factory)(Stage(1, phase, config, pairs))
        values = {name: value.clone().requires_grad_() for name, value in initial_values(pairs.variables()).items()}
        losses, _ = objective.gradients(values, objective.draws.segments(0))
        return float(sum(losses.values()))

    return loss
