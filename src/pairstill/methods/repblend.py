"""RepBlend: LoRS behind a frozen tower, where every inner step sees blended representations; both heads are matched.

Its heads are residual (`heads.kind`): a linear head of a blend is the blend of what it makes of the parts.
"""

from dataclasses import replace

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods import lors
from pairstill.methods.base import Method


def set_parts(config: RunConfig) -> DistillConfig:
    """LoRS with blending."""
    return replace(lors.set_parts(config), blend=True)


REPBLEND = Method(
    "repblend",
    "RepBlend",
    "arXiv 2505.14705",
    "learns images, text embeddings, similarities, rates",
    ("teacher", "trajectories", "features"),
    set_parts,
)
