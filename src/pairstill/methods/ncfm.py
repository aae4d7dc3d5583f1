"""NCFM on pairs: clusters of joint features are matched by their characteristic functions."""

from dataclasses import replace

from pairstill.config import DistillConfig
from pairstill.methods.base import Method, one_phase


def set_parts(distill: DistillConfig) -> DistillConfig:
    """One phase whose pairs start from clusters; a pair more, since no similarities are stored."""
    if distill.objective == "characteristic":
        return distill
    return replace(one_phase(distill, more_pairs=1), objective="characteristic", loss="infonce", shortcut=True)


NCFM = Method(
    "ncfm",
    "NCFM",
    "arXiv 2603.25388, Appendix E",
    "learns images, text embeddings",
    ("teacher", "trajectories"),
    set_parts,
)
