"""MCT: one straight line from the untrained model to the teachers' last epoch, matched from anywhere on it."""

from dataclasses import replace

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods.base import Method, one_phase


def set_parts(config: RunConfig) -> DistillConfig:
    """One phase on the shortcut to the last epoch, with starts all along it, between epochs too."""
    whole, epochs = one_phase(config.distill), config.teacher.epochs
    line = replace(whole.phases[0], range_start=0, range_end=epochs - whole.matching_span, endpoint=epochs)
    return replace(whole, phases=(line,), loss="wbce", shortcut=True, ema=False, start_sampling="continuous")


MCT = Method(
    "mct",
    "MCT",
    "arXiv 2406.19827",
    "learns images, text embeddings, similarities, rates",
    ("teacher", "trajectories"),
    set_parts,
)
