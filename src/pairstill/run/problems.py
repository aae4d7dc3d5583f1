"""Matching looked at before or beside a distillation: gradients at real pairs, teachers in small."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from pairstill.config import FeaturesFirstConfig, PhaseConfig
from pairstill.core.rng import make_generator
from pairstill.distill.bilevel.objective import TrajectoryObjective
from pairstill.distill.features_first import outer_on_features
from pairstill.distill.initial import InitialPairs
from pairstill.distill.pairs import Features, Pixels, PlainPairs
from pairstill.distill.recipe import Stage, matching_of
from pairstill.distill.similarity import Similarity
from pairstill.run.context import RunContext


def matching_problem(
    context: RunContext, experts: list[Path], captions: Tensor, phase: PhaseConfig, *, shortcut: bool, seed: int
) -> TrajectoryObjective:
    """Return the objective of one phase that starts at real pairs, as a student sees them.

    Behind a frozen tower the pairs are features, which are what is learned then, at the rate that a run learns features
    at; a trained tower has pixels. Settings are the run's, but there is one phase whose range counts both ends from the
    first step on, no warm start and no moving average.

    Args:
        context: the run.
        experts: the teachers' files.
        captions: the real pairs, as caption numbers of the training split.
        phase: the phase.
        shortcut: match the shortcut to the phase's endpoint, or the recorded snapshots.
        seed: of all that is drawn.
    """
    train, config, distill = context.splits.train, context.config, context.config.matching
    settings = replace(
        distill,
        phases=(phase,),
        auto_phases=None,
        phased=False,
        shortcut=shortcut,
        ema=False,
        range_reading="inclusive",
        start_sampling="epochs",
        range_growth=0.0,
        features_first=FeaturesFirstConfig(),
        validate_every=0,
        patience=0,
    )
    images, texts = train.image_inputs(train.caption_owner[captions]).cpu(), train.texts(captions).cpu().clone()
    kind, outer = Pixels(None), distill.outer
    if context.tower is not None:
        kind, outer = Features(), outer_on_features(distill.outer, distill.features_first, images)
        settings = replace(settings, outer=outer)
    similarity = Similarity()
    if settings.loss == "wbce":
        similarity = Similarity.initial(settings.similarity, len(captions), make_generator(seed, "similarity", 1))
    unnamed = ("",) * len(captions)
    begin = InitialPairs(images, texts, unnamed, unnamed)
    pairs = PlainPairs.of(begin, kind, similarity, config.initial_rates, outer, context.device)
    return matching_of(experts, seed, context.factory)(Stage(1, phase, settings, pairs))
