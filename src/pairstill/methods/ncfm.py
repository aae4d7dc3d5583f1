"""NCFM on pairs: clusters of joint features are matched by their characteristic functions."""

from dataclasses import replace

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods.base import Method, without_similarities


def set_parts(config: RunConfig) -> DistillConfig:
    """One phase whose pairs start from clusters, no similarities; AdamW and no average, as in the authors' code."""
    outer = replace(config.distill.outer, optimizer="adamw", betas=(0.9, 0.999))
    return without_similarities(config.distill, objective="characteristic", shortcut=True, ema=False, outer=outer)


NCFM = Method(
    "ncfm",
    "NCFM",
    "arXiv 2603.25388, Appendix E",
    "learns images, text embeddings",
    ("teacher", "trajectories"),
    set_parts,
)
