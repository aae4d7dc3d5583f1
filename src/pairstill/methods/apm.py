"""APM: the closed-form projector of the pairs is matched with that of all real pairs."""

from dataclasses import replace

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods.base import Method, without_similarities


def set_parts(config: RunConfig) -> DistillConfig:
    """One phase, without teachers, similarities and average; Adam and its rate as its paper has them."""
    outer = replace(config.distill.outer, optimizer="adam", lr_images=0.1, lr_texts=0.1, betas=(0.6, 0.9))
    return without_similarities(config.distill, objective="projector", shortcut=True, ema=False, outer=outer)


APM = Method(
    "apm",
    "APM",
    "ICLR 2026 submission, after a digest",
    "learns images, text embeddings",
    ("features",),
    set_parts,
)
