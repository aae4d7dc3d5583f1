"""What the analyses look at: teachers with every snapshot, and pairs as a student sees them."""

from pathlib import Path

import torch
from torch import Tensor

from pairstill.config import PhaseConfig
from pairstill.core.errors import ConfigError, DataError
from pairstill.core.rng import derive_seed
from pairstill.encoders.split import EncodedSplit
from pairstill.run.context import RunContext
from pairstill.run.teach import store_of, teach

PATHS = ("original", "shortcut")
"""The recorded trajectory, and its shortcut to the last snapshot."""


def whole_teachers(context: RunContext, experts: int | None = None) -> list[Path]:
    """Return the files of the teachers with a snapshot after every epoch, which are trained if they are missing.

    Args:
        context: the run.
        experts: how many of them; None takes all.

    Raises:
        ConfigError: there are fewer teachers, or not all their snapshots are kept.
    """
    teacher = context.config.teacher
    if experts is not None and experts > teacher.num_experts:
        raise ConfigError(
            f"{experts} experts are asked for but the run has {teacher.num_experts}; lower experts or raise "
            "teacher.num_experts"
        )
    store, every = store_of(context), set(range(1, teacher.epochs + 1))
    if not every <= set(store.kept):
        raise ConfigError(
            f"{store.folder} keeps the teachers' snapshots {list(store.kept)} of {teacher.epochs} epochs, but analyses "
            "need all of them: train the teachers with --teacher.keep all, in another run_dir or trajectories_dir"
        )
    return teach(context, experts or teacher.num_experts)


def analysis_seed(context: RunContext) -> int:
    """Return the seed of all that an analysis draws."""
    return derive_seed(context.config.distillation_seed, "analysis")


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


def whole_range(context: RunContext, pairs: int, outer_steps: int = 1) -> PhaseConfig:
    """Return a phase that may start at every epoch which has a target, and whose shortcut ends where teachers end.

    Raises:
        ConfigError: the matching span is longer than the teachers' training.
    """
    epochs, span = context.config.teacher.epochs, context.config.matching.matching_span
    if span > epochs:
        raise ConfigError(f"distill.matching_span is {span} but teachers train {epochs} epochs; lower it")
    return PhaseConfig(pairs, outer_steps, range_start=0, range_end=epochs - span, endpoint=epochs)
