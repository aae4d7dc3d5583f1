"""LoRS: matching recorded trajectories with learned similarities; their kind, full or of low rank, is a setting.

LoRS trains the image tower. Behind a frozen one, where a head on each side learns and both are matched, it is a part of
RepBlend, and is called so.
"""

from dataclasses import replace

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods.base import PLAIN, Method, one_phase


def set_parts(config: RunConfig) -> DistillConfig:
    """One phase on the recorded trajectories, with the last values instead of their average."""
    return replace(one_phase(config.distill), **PLAIN, loss="wbce", shortcut=False, ema=False)


LORS = Method(
    "lors",
    "LoRS",
    "arXiv 2406.03793",
    "learns images, text embeddings, similarities, rates",
    ("teacher", "trajectories"),
    set_parts,
    frozen_title="LoRS + symmetric heads",
)
