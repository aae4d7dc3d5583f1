"""MCT: one straight line from the untrained model to the teachers' last epoch, matched from anywhere on it."""

from dataclasses import replace

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods.base import PLAIN, Method, one_phase, whole_path


def set_parts(config: RunConfig) -> DistillConfig:
    """One phase on the shortcut to the last epoch, with starts all along it, between epochs too."""
    whole = replace(whole_path(one_phase(config.distill), config.teacher.epochs), auto_phases=None)
    return replace(whole, **{**PLAIN, "start_sampling": "continuous"}, loss="wbce", shortcut=True, ema=False)


MCT = Method(
    "mct",
    "MCT",
    "arXiv 2406.19827",
    "learns images, text embeddings, similarities, rates",
    ("teacher", "trajectories"),
    set_parts,
)
