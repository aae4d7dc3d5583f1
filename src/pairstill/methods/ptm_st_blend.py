"""PTM-ST with RepBlend's blending: the first changes which teacher is matched, the second how pairs are seen."""

from dataclasses import replace

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods import ptm_st
from pairstill.methods.base import Method


def set_parts(config: RunConfig) -> DistillConfig:
    """The phases and shortcuts of the settings, with blending."""
    return replace(ptm_st.set_parts(config), blend=True)


PTM_ST_BLEND = Method(
    "ptm_st_blend",
    "PTM-ST + blend",
    "arXiv 2603.25388 and 2505.14705, combined here",
    "learns images, text embeddings, similarities, rates",
    ("teacher", "trajectories", "features"),
    set_parts,
)
