"""DATM, carried over to pairs: LoRS whose start range grows, from easy to hard."""

from dataclasses import replace

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods import lors
from pairstill.methods.base import Method, whole_path

GROWTH = 0.5


def set_parts(config: RunConfig) -> DistillConfig:
    """LoRS, where the last start epoch grows to the last that has a target.

    It does so over half of the steps unless the settings say over how many.
    """
    whole = whole_path(lors.set_parts(config), config.teacher.epochs)
    return replace(whole, range_growth=config.distill.range_growth or GROWTH)


DATM = Method(
    "datm",
    "DATM",
    "arXiv 2310.05773",
    "learns images, text embeddings, similarities, rates",
    ("teacher", "trajectories"),
    set_parts,
)
