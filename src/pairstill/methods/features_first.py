"""Features first: behind a frozen tower, distil features, find pixels that have them, then go on a little on pixels."""

from dataclasses import replace

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods import ptm_st
from pairstill.methods.base import Method

PIXEL_SHARE = 8
"""A phase's steps are done on features; an eighth as many follow on pixels."""


def set_parts(config: RunConfig) -> DistillConfig:
    """The phases and shortcuts of the settings, most steps of which are done on features."""
    distill = ptm_st.set_parts(config)
    if distill.features_first.steps:
        return distill
    steps = max(phase.outer_steps for phase in distill.phases)
    phases = tuple(replace(phase, outer_steps=max(1, phase.outer_steps // PIXEL_SHARE)) for phase in distill.phases)
    return replace(distill, phases=phases, features_first=replace(distill.features_first, steps=steps))


FEATURES_FIRST = Method(
    "features_first",
    "Features first",
    "this project",
    "learns features, then images; text embeddings, similarities, rates",
    ("teacher", "trajectories", "features"),
    set_parts,
)
