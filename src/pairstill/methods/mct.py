"""MCT: one straight line to the teachers' last endpoint, matched from anywhere on it."""

from dataclasses import replace

from pairstill.config import DistillConfig
from pairstill.methods.base import Method, one_phase


def set_parts(distill: DistillConfig) -> DistillConfig:
    """One phase on the shortcut to the last of the phases' endpoints, with starts between epochs too."""
    last = max(phase.endpoint for phase in distill.phases)
    whole = one_phase(distill)
    phases = (replace(whole.phases[0], endpoint=last),)
    return replace(whole, phases=phases, loss="wbce", shortcut=True, ema=False, start_sampling="continuous")


MCT = Method(
    "mct",
    "MCT",
    "arXiv 2406.19827",
    "learns images, text embeddings, similarities, rates",
    ("teacher", "trajectories"),
    set_parts,
)
