"""PTM-ST: phased teacher models with shortcut trajectories; what the settings are made for."""

from pairstill.methods.base import Method

PTM_ST = Method(
    "ptm_st",
    "PTM-ST",
    "arXiv 2603.25388",
    "learns images, text embeddings, similarities, rates",
    ("teacher", "trajectories"),
)
