"""MTT-VL: matching recorded trajectories with InfoNCE, without similarities."""

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods.base import PLAIN, Method, without_similarities


def set_parts(config: RunConfig) -> DistillConfig:
    """One phase on the recorded trajectories, without similarities."""
    return without_similarities(config.distill, **PLAIN, shortcut=False, ema=False)


MTT_VL = Method(
    "mtt_vl",
    "MTT-VL",
    "arXiv 2308.07545",
    "learns images, text embeddings, rates",
    ("teacher", "trajectories"),
    set_parts,
)
