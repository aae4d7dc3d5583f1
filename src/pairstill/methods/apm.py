"""APM: the closed-form projector of the pairs is matched with that of all real pairs."""

from dataclasses import replace

from pairstill.config import DistillConfig
from pairstill.methods.base import Method, one_phase


def set_parts(distill: DistillConfig) -> DistillConfig:
    """One phase, without teachers; a pair more, since no similarities are stored; Adam as its paper has it."""
    if distill.objective == "projector":
        return distill
    outer = replace(distill.outer, optimizer="adam", lr_texts=0.1, betas=(0.6, 0.9))
    return replace(one_phase(distill, more_pairs=1), objective="projector", loss="infonce", shortcut=True, outer=outer)


APM = Method(
    "apm",
    "APM",
    "ICML 2026, after a digest",
    "learns images, text embeddings",
    ("features",),
    set_parts,
)
