"""DATM, carried over to pairs: LoRS whose start range grows, from easy to hard."""

from dataclasses import replace

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods import lors
from pairstill.methods.base import Method

GROWTH = 0.5


def set_parts(config: RunConfig) -> DistillConfig:
    """LoRS, where the last start epoch grows to the last that has a target.

    It does so over half of the steps unless the settings say over how many.
    """
    whole = lors.set_parts(config)
    last = config.teacher.epochs - whole.matching_span
    phases = (replace(whole.phases[0], range_end=last, endpoint=config.teacher.epochs),)
    return replace(whole, phases=phases, range_growth=config.distill.range_growth or GROWTH)


DATM = Method(
    "datm",
    "DATM",
    "arXiv 2310.05773",
    "learns images, text embeddings, similarities, rates",
    ("teacher", "trajectories"),
    set_parts,
)
