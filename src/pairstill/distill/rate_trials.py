"""The rates of a distillation, scaled, and the short one that tries them."""

from dataclasses import replace

from pairstill.config import TrajectoryConfig


def at_outer_scale(loop: TrajectoryConfig, scale: float) -> TrajectoryConfig:
    """Return the settings of an outer loop with all outer rates multiplied: of pixels or features, texts and the rest.

    Example:
        >>> at_outer_scale(TrajectoryConfig(), 3.0).outer.lr_images / TrajectoryConfig().outer.lr_images
        3.0
    """
    if scale == 1.0:
        return loop  # to the bit
    outer, first = loop.outer, loop.features_first
    rates = {name: scale * getattr(outer, name) for name in ("lr_images", "lr_texts", "lr_similarity", "lr_inner_lr")}
    return replace(
        loop,
        outer=replace(outer, **rates),
        features_first=replace(first, lr_features=scale * first.lr_features),
        mixture=replace(loop.mixture, lr_weights=scale * loop.mixture.lr_weights),
    )


def trial_loop(loop: TrajectoryConfig, steps: int) -> TrajectoryConfig:
    """Return the settings of a short distillation: the first phase alone, `steps` long and never validated on the way.

    With a warm start these are the steps on features; their pixels are found, and take one step, so that a student sees
    what it will see of the whole distillation. None is longer than the phase itself.

    Args:
        loop: the settings of the whole distillation, whose phases are known.
        steps: outer steps, 1 or more.
    """
    phase, first = loop.phases[0], loop.features_first
    if first.steps:
        first, pixel_steps = replace(first, steps=min(steps, first.steps)), 1
    else:
        pixel_steps = min(steps, phase.outer_steps)
    phases = (replace(phase, outer_steps=pixel_steps),)
    return replace(loop, phases=phases, auto_phases=None, features_first=first, validate_every=0, patience=0)
