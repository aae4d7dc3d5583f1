"""APM: the closed-form projector of the pairs is matched with that of all real pairs."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods.base import Method, without_similarities

if TYPE_CHECKING:
    from pairstill.distill.recipe import Ingredients, Recipe


def set_parts(config: RunConfig) -> DistillConfig:
    """One phase, without teachers, similarities and average; Adam and its rate as its paper has them."""
    outer = replace(config.distill.outer, optimizer="adam", lr_images=0.1, lr_texts=0.1, betas=(0.6, 0.9))
    return without_similarities(config.distill, objective="projector", shortcut=True, ema=False, outer=outer)


def recipe(given: "Ingredients", experts: list[Path]) -> "Recipe":
    """Pixels that are moved by the objective on fixed features of all training pairs."""
    from pairstill.distill.projector import ProjectorObjective, targets_of
    from pairstill.distill.recipe import Stage, pixels_recipe, seed_of

    config, train, ridge = given.config, given.splits.train, given.closed_form.ridge
    targets = targets_of(train, ridge)

    def objective(stage: Stage) -> ProjectorObjective:
        return ProjectorObjective(
            pairs=stage.pairs,
            split=train,
            targets=targets,
            ridge=ridge,
            config=config.distill.projector,
            info_nce=config.info_nce,
            seed=seed_of(config),
            number=stage.number,
        )

    return pixels_recipe(given, objective)


APM = Method(
    "apm",
    "APM",
    "ICLR 2026 submission, after a digest",
    "learns images, text embeddings",
    ("features",),
    set_parts,
    recipe,
    student="closed_form",
    all_teachers=False,
)
