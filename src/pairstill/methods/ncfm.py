"""NCFM on pairs: clusters of joint features are matched by their characteristic functions."""

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods.base import Method, without_similarities


def set_parts(config: RunConfig) -> DistillConfig:
    """One phase whose pairs start from clusters, without similarities."""
    return without_similarities(config.distill, objective="characteristic", shortcut=True)


NCFM = Method(
    "ncfm",
    "NCFM",
    "arXiv 2603.25388, Appendix E",
    "learns images, text embeddings",
    ("teacher", "trajectories"),
    set_parts,
)
