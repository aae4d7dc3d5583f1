"""APM: the closed-form projector of the pairs is matched with that of all real pairs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pairstill.config import ClosedFormConfig, OnePhaseConfig, OuterConfig, ProjectorConfig
from pairstill.methods.base import Method

if TYPE_CHECKING:
    from pairstill.distill.recipe import Ingredients, Recipe


FEATURE_STEPS, INVERSION_STEPS, PIXEL_STEPS = 400, 80, 8
"""As many steps on the features of a frozen tower as its paper has epochs; then pixels are found, and move a little."""


@dataclass(frozen=True)
class ApmConfig(OnePhaseConfig):
    """Settings of APM, whose optimiser and rate are its paper's.

    Attributes:
        init: `real` starts from real pairs drawn at random, `noise` from Gaussian noise of the same moments.
        rate_unit: of the rate 0.1 of images and texts: `relative` to the standard deviation of each where the steps
            begin, or `absolute`.
        projector: the objective.
    """

    SHARED: ClassVar[Mapping[str, str]] = {"rate_unit": "outer.rate_unit"}

    init: Literal["real", "noise"] = "real"
    rate_unit: Literal["relative", "absolute"] = "relative"
    projector: ProjectorConfig = field(default_factory=ProjectorConfig)

    @property
    def outer(self) -> OuterConfig:
        """Adam and its rate as the paper has them."""
        return OuterConfig("adam", self.rate_unit, lr_images=0.1, lr_texts=0.1, betas=(0.6, 0.9))

    def at_length(self) -> Self:
        """Return the settings with the steps of its paper, unless they learn on features already."""
        if self.features_first.steps:
            return self
        first = replace(self.features_first, steps=FEATURE_STEPS, inversion_steps=INVERSION_STEPS)
        return replace(self, outer_steps=PIXEL_STEPS, features_first=first)

    @property
    def closed_form(self) -> ClosedFormConfig:
        """The student that the pairs are made for."""
        return ClosedFormConfig(self.projector.ridges, self.projector.width)


def recipe(given: "Ingredients", experts: list[Path]) -> "Recipe":
    """Pixels that are moved by the objective on fixed features of all training pairs."""
    from pairstill.distill.projector import ProjectorObjective, targets_of
    from pairstill.distill.recipe import Stage, pixels_recipe, seed_of

    config, train, ridge = given.config, given.splits.train, given.closed_form.ridge
    settings = config.distill
    assert isinstance(settings, ApmConfig)
    targets = targets_of(train, ridge)

    def objective(stage: Stage) -> ProjectorObjective:
        return ProjectorObjective(
            pairs=stage.pairs,
            split=train,
            targets=targets,
            ridge=ridge,
            config=settings.projector,
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
    ApmConfig,
    recipe=recipe,
    student="closed_form",
    all_teachers=False,
    benchmarks=("frozen", "short", "long"),
)
