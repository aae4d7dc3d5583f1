"""MTT-VL: matching recorded trajectories with InfoNCE, without similarities."""

from dataclasses import replace

from pairstill.config import DistillConfig
from pairstill.methods.base import Method, one_phase


def set_parts(distill: DistillConfig) -> DistillConfig:
    """One phase on the recorded trajectories; a pair more, since no similarities are stored."""
    if distill.loss == "infonce":
        return distill
    whole = one_phase(distill, more_pairs=1)
    return replace(whole, loss="infonce", shortcut=False, ema=False)


MTT_VL = Method(
    "mtt_vl",
    "MTT-VL",
    "arXiv 2308.07545",
    "learns images, text embeddings, rates",
    ("teacher", "trajectories"),
    set_parts,
)
