"""DATM, carried over to pairs: LoRS whose start range grows, from easy to hard."""

from dataclasses import replace

from pairstill.config import DistillConfig
from pairstill.methods import lors
from pairstill.methods.base import Method

GROWTH = 0.5


def set_parts(distill: DistillConfig) -> DistillConfig:
    """LoRS, where the last start epoch grows over half of the steps unless the settings say over how many."""
    return replace(lors.set_parts(distill), range_growth=distill.range_growth or GROWTH)


DATM = Method(
    "datm",
    "DATM",
    "arXiv 2310.05773",
    "learns images, text embeddings, similarities, rates",
    ("teacher", "trajectories"),
    set_parts,
)
