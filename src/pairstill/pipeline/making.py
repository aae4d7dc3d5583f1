"""The pairs of a run: distilled, or chosen among real ones."""

from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import normalize

from pairstill.coreset import candidates, choose_rows, coreset_phase, joint_features
from pairstill.distill.characteristic import CharacteristicObjective, cluster, draw_from_clusters
from pairstill.distill.direct import DirectObjective
from pairstill.distill.features_first import FeatureRange
from pairstill.distill.initial import InitialPairs, initial_pairs, real_pairs
from pairstill.distill.phases import Distillation
from pairstill.distill.projector import ProjectorObjective
from pairstill.distilled import DistilledSet
from pairstill.errors import ConfigError
from pairstill.methods import METHODS
from pairstill.model.dual_encoder import Parameters
from pairstill.pipeline.parts import Parts
from pairstill.pipeline.phasing import settle_phases
from pairstill.pipeline.progress import distill_progress, mode_shower, show_damage
from pairstill.pipeline.reusing import begin, content_key, make_known, take_known
from pairstill.pipeline.teaching import teach
from pairstill.rng import derive_seed, generator
from pairstill.trajectories.teacher import epochs_to_keep
from pairstill.trajectories.trajectory import Trajectory


def distill(parts: Parts) -> DistilledSet:
    """Distil what is not distilled yet and return the distilled set.

    Raises:
        ConfigError: the stretches of an outer step cannot be shared out evenly among the ranks.
    """
    if parts.method.rule is not None:
        raise ConfigError(f"method {parts.method.name} chooses real pairs; use `pairstill select` or `pairstill run`")
    check_shares(parts)
    if parts.ranks.from_main(parts.folder.is_distilled):
        return DistilledSet.load(parts.folder.distilled)
    settle_phases(parts)
    key = content_key(parts)
    if parts.ranks.from_main(lambda: take_known(parts, key)):
        return DistilledSet.load(parts.folder.distilled)
    config, distill = parts.config, parts.config.distill
    if distill.blend and config.heads.kind == "linear":
        parts.console.print(
            "distill.blend is on but heads.kind is linear: a linear head of a blend is the blend of what it makes of "
            "the parts, so that blended pairs teach nothing new; set heads.kind to residual, as RepBlend has it",
            style="yellow",
        )
    experts = teach(parts) if "trajectories" in parts.method.needs else []
    initial, objective = _problem_of(parts, distill.objective, experts)
    distillation = Distillation(
        config=distill,
        seed=derive_seed(config.distillation_seed, "distillation"),
        factory=parts.factory,
        tower=parts.tower,
        experts=experts,
        initial=initial,
        initial_rates=config.initial_rates,
        describe=parts.description(),
        ranks=parts.ranks,
        objective=objective,
        feature_range=_feature_range(parts),
    )
    if parts.ranks.is_main:
        begin(parts, key)
    with parts.timed("distill"), distill_progress(parts) as watch:
        distilled = distillation.run(
            parts.folder.distillation,
            watch.on_step,
            watch.on_checkpoint,
            mode_shower(parts),
            partial(show_damage, parts),
            watch.on_inversion,
        )
    if parts.ranks.is_main:
        distilled.save(parts.folder.distilled)
        make_known(parts, key)
    return distilled


def _feature_range(parts: Parts) -> FeatureRange | None:
    """Return the range of the training images' features, if a warm start keeps to it."""
    first = parts.config.distill.features_first
    return FeatureRange.of(parts.splits.train.image_batches()) if first.steps and first.in_range else None


def _problem_of(
    parts: Parts, objective: Literal["trajectory", "projector", "characteristic"], experts: list[Path]
) -> tuple[list[InitialPairs], DirectObjective | None]:
    """Return the pairs to start from, and what compares them when trajectories are not matched."""
    config, distill, train = parts.config, parts.config.distill, parts.splits.train
    draw = generator(config.distillation_seed, "initial pairs")
    if objective == "characteristic":
        return _clustered_pairs(parts, experts)
    pairs = initial_pairs(parts.manifest, train, distill.phases, distill.init, draw)
    return pairs, _projector_objective(parts) if objective == "projector" else None


def _projector_objective(parts: Parts) -> DirectObjective:
    config, ridge = parts.config, parts.closed_form.ridge
    return ProjectorObjective.of(parts.splits.train, config.distill.projector, ridge, config.info_nce)


def _clustered_pairs(parts: Parts, experts: list[Path]) -> tuple[list[InitialPairs], DirectObjective]:
    """Return pairs drawn from clusters of the first teacher's joint features, and the objective on them."""
    config, train, count = parts.config.distill.characteristic, parts.splits.train, parts.config.distill.num_pairs
    seed = parts.config.distillation_seed
    draw = generator(seed, "initial pairs")
    captions = candidates(train, count, draw)
    epoch = epochs_to_keep(parts.config.teacher, parts.config.distill)[-1]
    features = _joint_features(parts, captions, experts, epoch)
    labels = cluster(features, min(config.clusters, count), derive_seed(seed, "clusters") % 2**32)
    rows = draw_from_clusters(labels, count, draw)
    model, parameters = parts.factory.build(), _teacher_parameters(parts, experts, epoch)

    def embed(images: Tensor, texts: Tensor) -> Tensor:
        sides = functional_call(model, parameters, (images, texts))
        return torch.cat([normalize(side, dim=1) for side in sides], 1)

    objective = CharacteristicObjective(embed, features, labels, labels[rows], config)
    return [real_pairs(parts.manifest, train, captions[rows])], objective


def select(parts: Parts) -> DistilledSet:
    """Choose real pairs by the method's rule, unless they are chosen already, and return them.

    Raises:
        ConfigError: the method learns pairs instead, or the teachers keep too few snapshots for it.
    """
    rule = parts.method.rule
    if rule is None:
        raise ConfigError(
            f"method {parts.method.name} learns its pairs; use `pairstill distill` or `pairstill run`, or one of "
            f"the coresets: {', '.join(m.name for m in METHODS if m.rule is not None)}"
        )
    if rule == "forgetting" and parts.config.teacher.keep != "all":
        raise ConfigError(
            "method forgetting counts from each epoch of the teachers to the next, but teacher.keep is "
            f"{parts.config.teacher.keep}; set it to all"
        )
    if parts.ranks.from_main(parts.folder.is_distilled):
        return DistilledSet.load(parts.folder.distilled)
    experts = [] if rule == "random" else teach(parts)
    train, count = parts.splits.train, parts.config.distill.num_pairs
    with parts.timed("select"):
        captions = candidates(train, count, generator(parts.config.distillation_seed, "coreset"))
        snapshots = partial(_joint_features, parts, captions, experts)
        # the settings decide, not what shared teachers keep beyond them
        kept = epochs_to_keep(parts.config.teacher, parts.config.distill)
        chosen = captions[choose_rows(rule, count, kept, snapshots)]
        pairs = real_pairs(parts.manifest, train, chosen)
    teacher = parts.config.teacher
    phase = coreset_phase(pairs, teacher.lr_image, teacher.lr_text)
    selected = DistilledSet((phase,), loss="infonce", **parts.description())
    if parts.ranks.is_main:
        selected.save(parts.folder.distilled)
    parts.ranks.barrier()
    return selected


def _joint_features(parts: Parts, captions: Tensor, experts: list[Path], epoch: int) -> Tensor:
    """Return the joint features of training pairs by the first teacher after an epoch."""
    parameters = _teacher_parameters(parts, experts, epoch)
    return joint_features(parts.factory.build(), parameters, parts.splits.train, captions)


def _teacher_parameters(parts: Parts, experts: list[Path], epoch: int) -> Parameters:
    found = Trajectory.open(experts[0]).snapshot(epoch)
    return {name: value.to(parts.device) for name, value in found.items()}


def check_shares(parts: Parts) -> None:
    """Raise `ConfigError` if the stretches of an outer step cannot be shared out evenly among the ranks."""
    stretches, world = parts.config.distill.trajectories_per_step, parts.ranks.world
    if stretches % world:
        raise ConfigError(
            f"distill.trajectories_per_step is {stretches}, but {world} processes share the stretches of a step: "
            f"it must be a multiple of {world}; set it so, or start as many processes as divide it"
        )
