"""NCFM on pairs: clusters of joint features are matched by their characteristic functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pairstill.config import CharacteristicConfig, MethodConfig, OnePhaseConfig, OuterConfig, PhaseConfig
from pairstill.methods.base import Method
from pairstill.methods.shared import endpoint_of, refuse_late

if TYPE_CHECKING:
    from pairstill.config import RunConfig
    from pairstill.distill.recipe import Ingredients, Recipe


@dataclass(frozen=True)
class NcfmConfig(OnePhaseConfig):
    """Settings of NCFM, whose optimiser is AdamW, as in the authors' code; pairs start from clusters of real ones.

    Attributes:
        endpoint: epoch of the teacher whose features are clustered and compared, if teachers keep endpoints alone;
            otherwise it is their last.
        rate_unit: of the rates: `relative` to the standard deviation of images and texts where the steps begin, or
            `absolute`.
        lr_images: rate of the image pixels.
        lr_texts: rate of the text embeddings.
        weight_decay: share of images and texts that a step takes off, in units of its rate.
        characteristic: the objective.
    """

    SHARED: ClassVar[Mapping[str, str]] = {
        name: f"outer.{name}" for name in ("rate_unit", "lr_images", "lr_texts", "weight_decay")
    }

    endpoint: int = 6
    rate_unit: Literal["relative", "absolute"] = "relative"
    lr_images: float = 0.02
    lr_texts: float = 0.02
    weight_decay: float = 5e-4
    characteristic: CharacteristicConfig = field(default_factory=CharacteristicConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.outer  # which checks the rates

    @property
    def phases(self) -> tuple[PhaseConfig, ...]:
        """The one phase."""
        return (PhaseConfig(self.num_pairs, self.outer_steps, range_end=0, endpoint=self.endpoint),)

    @property
    def outer(self) -> OuterConfig:
        """AdamW as in the authors' code."""
        return OuterConfig(
            "adamw",
            self.rate_unit,
            lr_images=self.lr_images,
            lr_texts=self.lr_texts,
            betas=(0.9, 0.999),
            weight_decay=self.weight_decay,
        )

    def at_scale(self, large: MethodConfig, scaled: Callable[[int], int]) -> Self:
        """Return the settings with the share of the row's clusters that the base has of its pairs."""
        assert isinstance(large, NcfmConfig)
        clusters = scaled(large.characteristic.clusters)
        return replace(self, characteristic=replace(self.characteristic, clusters=clusters))

    @property
    def epochs_read(self) -> frozenset[int]:
        """The epoch whose features are compared."""
        return frozenset((self.endpoint,))

    def check_in(self, run: "RunConfig") -> None:
        """Refuse an endpoint that the teachers do not reach.

        Raises:
            ConfigError: they do not, or the warm start does not go with the image tower.
        """
        super().check_in(run)
        refuse_late(self.endpoint, run)

    @classmethod
    def of_phases(cls, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Return all pairs and steps of the phases, and the endpoint of the first."""
        return {**super().of_phases(shared), "endpoint": endpoint_of(shared)}


def recipe(given: "Ingredients", experts: list[Path]) -> "Recipe":
    """Pixels that start from clusters of the first teacher's joint features, and are moved by the objective on them."""
    from pairstill.core.rng import derive_seed, make_generator
    from pairstill.distill.characteristic import CharacteristicObjective, cluster, draw_from_clusters, joint_embedding
    from pairstill.distill.coreset import candidates, joint_features
    from pairstill.distill.initial import real_pairs
    from pairstill.distill.recipe import Stage, pixels_recipe, seed_of
    from pairstill.teachers.training import epochs_to_keep
    from pairstill.teachers.trajectory import parameters_after

    config, train, factory = given.config, given.splits.train, given.factory
    settings, seed = config.distill, config.distillation_seed
    assert isinstance(settings, NcfmConfig)
    count = settings.num_pairs
    generator = make_generator(seed, "initial pairs")
    captions = candidates(train, count, generator)
    epoch = epochs_to_keep(config.teacher, settings)[-1]
    model, parameters = factory.build(), parameters_after(experts[0], epoch, factory.device)
    features = joint_features(model, parameters, train, captions)
    clusters = min(settings.characteristic.clusters, count)
    labels = cluster(features, clusters, derive_seed(seed, "clusters") % 2**32)
    rows = draw_from_clusters(labels, count, generator)

    def objective(stage: Stage) -> CharacteristicObjective:
        return CharacteristicObjective(
            pairs=stage.pairs,
            embed=joint_embedding(model, parameters),
            real=features,
            real_labels=labels,
            labels=labels[rows],
            config=settings.characteristic,
            seed=seed_of(config),
            number=stage.number,
        )

    return pixels_recipe(given, objective, [real_pairs(given.manifest, train, captions[rows])])


NCFM = Method(
    "ncfm",
    "NCFM",
    "arXiv 2603.25388, Appendix E",
    "learns images, text embeddings",
    ("teacher", "trajectories"),
    NcfmConfig,
    recipe=recipe,
    student="chosen_rates",
    all_teachers=False,
    benchmarks=("frozen", "long"),
    packages=("sklearn",),
)
