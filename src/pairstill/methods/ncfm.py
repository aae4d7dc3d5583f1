"""NCFM on pairs: clusters of joint features are matched by their characteristic functions."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods.base import Method, without_similarities

if TYPE_CHECKING:
    from pairstill.distill.recipe import Ingredients, Recipe


def set_parts(config: RunConfig) -> DistillConfig:
    """One phase whose pairs start from clusters, no similarities; AdamW and no average, as in the authors' code."""
    outer = replace(config.distill.outer, optimizer="adamw", betas=(0.9, 0.999))
    return without_similarities(config.distill, objective="characteristic", shortcut=True, ema=False, outer=outer)


def recipe(given: "Ingredients", experts: list[Path]) -> "Recipe":
    """Pixels that start from clusters of the first teacher's joint features, and are moved by the objective on them."""
    from pairstill.coreset import candidates, joint_features
    from pairstill.distill.characteristic import CharacteristicObjective, cluster, draw_from_clusters, joint_embedding
    from pairstill.distill.initial import real_pairs
    from pairstill.distill.recipe import Stage, pixels_recipe, seed_of
    from pairstill.rng import derive_seed, generator
    from pairstill.trajectories.teacher import epochs_to_keep
    from pairstill.trajectories.trajectory import parameters_after

    config, train, factory = given.config, given.splits.train, given.factory
    count, seed = config.distill.num_pairs, config.distillation_seed
    draw = generator(seed, "initial pairs")
    captions = candidates(train, count, draw)
    epoch = epochs_to_keep(config.teacher, config.distill)[-1]
    model, parameters = factory.build(), parameters_after(experts[0], epoch, factory.device)
    features = joint_features(model, parameters, train, captions)
    clusters = min(config.distill.characteristic.clusters, count)
    labels = cluster(features, clusters, derive_seed(seed, "clusters") % 2**32)
    rows = draw_from_clusters(labels, count, draw)

    def objective(stage: Stage) -> CharacteristicObjective:
        return CharacteristicObjective(
            pairs=stage.pairs,
            embed=joint_embedding(model, parameters),
            real=features,
            real_labels=labels,
            labels=labels[rows],
            config=config.distill.characteristic,
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
    set_parts,
    recipe,
    student="chosen_rates",
    all_teachers=False,
)
