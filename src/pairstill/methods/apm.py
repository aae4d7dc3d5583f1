"""APM: the closed-form projector of the pairs is matched with that of all real pairs."""

from dataclasses import replace

from pairstill.config import DistillConfig
from pairstill.methods.base import Method, one_phase


def set_parts(distill: DistillConfig) -> DistillConfig:
    """One phase, without teachers; a pair more, since no similarities are stored."""
    if distill.objective == "projector":
        return distill
    return replace(one_phase(distill, more_pairs=1), objective="projector", loss="infonce", shortcut=True)


APM = Method(
    "apm",
    "APM",
    "ICML 2026, after a digest",
    "learns images, text embeddings",
    ("features",),
    set_parts,
)
