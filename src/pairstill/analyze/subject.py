"""What the analyses look at: teachers with every snapshot, and pairs as a student sees them."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pairstill.config import FeaturesFirstConfig, PhaseConfig
from pairstill.distill.initial import InitialPairs
from pairstill.distill.phases import Distillation
from pairstill.distill.problem import PhaseProblem
from pairstill.encoders.split import EncodedSplit
from pairstill.errors import ConfigError, DataError
from pairstill.pipeline.parts import Parts
from pairstill.pipeline.teaching import shelf_of, teach
from pairstill.rng import derive_seed

PATHS = ("original", "shortcut")
"""The recorded trajectory, and its shortcut to the last snapshot."""


def whole_teachers(parts: Parts, experts: int | None = None) -> list[Path]:
    """Return the files of the teachers with a snapshot after every epoch, which are trained if they are missing.

    Args:
        parts: the run.
        experts: how many of them; None takes all.

    Raises:
        ConfigError: there are fewer teachers, or not all their snapshots are kept.
    """
    teacher = parts.config.teacher
    if experts is not None and experts > teacher.num_experts:
        raise ConfigError(
            f"{experts} experts are asked for but the run has {teacher.num_experts}; lower experts or raise "
            "teacher.num_experts"
        )
    shelf, every = shelf_of(parts), set(range(1, teacher.epochs + 1))
    if not every <= set(shelf.kept):
        raise ConfigError(
            f"{shelf.folder} keeps the teachers' snapshots {list(shelf.kept)} of {teacher.epochs} epochs, but analyses "
            "need all of them: train the teachers with --teacher.keep all, in another run_dir or trajectories_dir"
        )
    return teach(parts)[:experts]


def first_captions(split: EncodedSplit, images: int) -> Tensor:
    """Return the number of the first caption of each of the first images, (images,).

    Raises:
        DataError: the split has fewer images.
    """
    if images > split.num_images:
        raise DataError(
            f"{images} pairs are asked for but the training split has {split.num_images} images; ask for less"
        )
    numbers = torch.arange(split.num_captions)
    first = torch.full((split.num_images,), split.num_captions)
    return first.scatter_reduce_(0, split.caption_owner, numbers, "amin")[:images]


def matching_problem(
    parts: Parts, experts: list[Path], captions: Tensor, phase: PhaseConfig, *, shortcut: bool
) -> PhaseProblem:
    """Return the problem of one phase that starts at real pairs, as a student sees them.

    Behind a frozen tower the pairs are features, which are what is learned then; a trained tower has pixels. Settings
    are the run's, but there is one phase whose range counts both ends from the first step on, no warm start and no
    moving average.

    Args:
        parts: the run.
        experts: the teachers' files.
        captions: the real pairs, as caption numbers of the training split.
        phase: the phase.
        shortcut: match the shortcut to the phase's endpoint, or the recorded snapshots.
    """
    train, config, distill = parts.splits.train, parts.config, parts.config.distill
    settings = replace(
        distill,
        objective="trajectory",
        phases=(phase,),
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
    unnamed = ("",) * len(captions)
    distillation = Distillation(
        config=settings,
        seed=derive_seed(config.seed, "analysis"),
        factory=parts.factory,
        tower=None,
        experts=experts,
        initial=[InitialPairs(images, texts, unnamed, unnamed)],
        initial_rates=(distill.lr_image or config.teacher.lr_image, distill.lr_text or config.teacher.lr_text),
        describe={},
    )
    return distillation.problem(1)


def whole_range(parts: Parts, pairs: int, outer_steps: int = 1) -> PhaseConfig:
    """Return a phase that may start at every epoch which has a target, and whose shortcut ends where teachers end.

    Raises:
        ConfigError: the matching span is longer than the teachers' training.
    """
    epochs, span = parts.config.teacher.epochs, parts.config.distill.matching_span
    if span > epochs:
        raise ConfigError(f"distill.matching_span is {span} but teachers train {epochs} epochs; lower it")
    return PhaseConfig(pairs, outer_steps, range_start=0, range_end=epochs - span, endpoint=epochs)
