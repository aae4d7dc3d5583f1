"""PTM-ST: phased teacher models with shortcut trajectories; what the settings are made for."""

from dataclasses import replace

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods.base import Method


def set_parts(config: RunConfig) -> DistillConfig:
    """The settings as they are, with trajectories to match."""
    return replace(config.distill, objective="trajectory")


PTM_ST = Method(
    "ptm_st",
    "PTM-ST",
    "arXiv 2603.25388",
    "learns images, text embeddings, similarities, rates",
    ("teacher", "trajectories"),
    set_parts,
)
