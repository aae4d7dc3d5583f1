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
from pairstill.pipeline.context import RunContext
from pairstill.pipeline.phasing import settle_phases
from pairstill.pipeline.progress import distill_progress, mode_shower, show_damage
from pairstill.pipeline.reusing import begin, content_key, make_known, take_known
from pairstill.pipeline.teaching import teach
from pairstill.rng import derive_seed, generator
from pairstill.trajectories.teacher import epochs_to_keep
from pairstill.trajectories.trajectory import Trajectory


def distill(context: RunContext) -> DistilledSet:
    """Distil what is not distilled yet and return the distilled set.

    Raises:
        ConfigError: the stretches of an outer step cannot be shared out evenly among the ranks.
    """
    if context.method.rule is not None:
        raise ConfigError(f"method {context.method.name} chooses real pairs; use `pairstill select` or `pairstill run`")
    check_shares(context)
    if context.ranks.from_main(context.folder.is_distilled):
        return DistilledSet.load(context.folder.distilled)
    context = settle_phases(context)
    key = content_key(context)
    if context.ranks.from_main(lambda: take_known(context, key)):
        return DistilledSet.load(context.folder.distilled)
    config, distill = context.config, context.config.distill
    if distill.blend and config.heads.kind == "linear":
        context.console.print(
            "distill.blend is on but heads.kind is linear: a linear head of a blend is the blend of what it makes of "
            "the parts, so that blended pairs teach nothing new; set heads.kind to residual, as RepBlend has it",
            style="yellow",
        )
    experts = teach(context) if "trajectories" in context.method.needs else []
    initial, objective = _problem_of(context, distill.objective, experts)
    distillation = Distillation(
        config=distill,
        seed=derive_seed(config.distillation_seed, "distillation"),
        factory=context.factory,
        tower=context.tower,
        experts=experts,
        initial=initial,
        initial_rates=config.initial_rates,
        describe=context.description(),
        ranks=context.ranks,
        objective=objective,
        feature_range=_feature_range(context),
    )
    if context.ranks.is_main:
        begin(context, key)
    with context.timed("distill"), distill_progress(context) as watch:
        distilled = distillation.run(
            context.folder.distillation,
            watch.on_step,
            watch.on_checkpoint,
            mode_shower(context),
            partial(show_damage, context),
            watch.on_inversion,
        )
    if context.ranks.is_main:
        distilled.save(context.folder.distilled)
        make_known(context, key)
    return distilled


def _feature_range(context: RunContext) -> FeatureRange | None:
    """Return the range of the training images' features, if a warm start keeps to it."""
    first = context.config.distill.features_first
    return FeatureRange.of(context.splits.train.image_batches()) if first.steps and first.in_range else None


def _problem_of(
    context: RunContext, objective: Literal["trajectory", "projector", "characteristic"], experts: list[Path]
) -> tuple[list[InitialPairs], DirectObjective | None]:
    """Return the pairs to start from, and what compares them when trajectories are not matched."""
    config, distill, train = context.config, context.config.distill, context.splits.train
    draw = generator(config.distillation_seed, "initial pairs")
    if objective == "characteristic":
        return _clustered_pairs(context, experts)
    pairs = initial_pairs(context.manifest, train, distill.phases, distill.init, draw)
    return pairs, _projector_objective(context) if objective == "projector" else None


def _projector_objective(context: RunContext) -> DirectObjective:
    config, ridge = context.config, context.closed_form.ridge
    return ProjectorObjective.of(context.splits.train, config.distill.projector, ridge, config.info_nce)


def _clustered_pairs(context: RunContext, experts: list[Path]) -> tuple[list[InitialPairs], DirectObjective]:
    """Return pairs drawn from clusters of the first teacher's joint features, and the objective on them."""
    config, train, count = context.config.distill.characteristic, context.splits.train, context.config.distill.num_pairs
    seed = context.config.distillation_seed
    draw = generator(seed, "initial pairs")
    captions = candidates(train, count, draw)
    epoch = epochs_to_keep(context.config.teacher, context.config.distill)[-1]
    features = _joint_features(context, captions, experts, epoch)
    labels = cluster(features, min(config.clusters, count), derive_seed(seed, "clusters") % 2**32)
    rows = draw_from_clusters(labels, count, draw)
    model, parameters = context.factory.build(), _teacher_parameters(context, experts, epoch)

    def embed(images: Tensor, texts: Tensor) -> Tensor:
        sides = functional_call(model, parameters, (images, texts))
        return torch.cat([normalize(side, dim=1) for side in sides], 1)

    objective = CharacteristicObjective(embed, features, labels, labels[rows], config)
    return [real_pairs(context.manifest, train, captions[rows])], objective


def select(context: RunContext) -> DistilledSet:
    """Choose real pairs by the method's rule, unless they are chosen already, and return them.

    Raises:
        ConfigError: the method learns pairs instead, or the teachers keep too few snapshots for it.
    """
    rule = context.method.rule
    if rule is None:
        raise ConfigError(
            f"method {context.method.name} learns its pairs; use `pairstill distill` or `pairstill run`, or one of "
            f"the coresets: {', '.join(m.name for m in METHODS if m.rule is not None)}"
        )
    if rule == "forgetting" and context.config.teacher.keep != "all":
        raise ConfigError(
            "method forgetting counts from each epoch of the teachers to the next, but teacher.keep is "
            f"{context.config.teacher.keep}; set it to all"
        )
    if context.ranks.from_main(context.folder.is_distilled):
        return DistilledSet.load(context.folder.distilled)
    experts = [] if rule == "random" else teach(context)
    train, count = context.splits.train, context.config.distill.num_pairs
    with context.timed("select"):
        captions = candidates(train, count, generator(context.config.distillation_seed, "coreset"))
        snapshots = partial(_joint_features, context, captions, experts)
        # the settings decide, not what shared teachers keep beyond them
        kept = epochs_to_keep(context.config.teacher, context.config.distill)
        chosen = captions[choose_rows(rule, count, kept, snapshots)]
        pairs = real_pairs(context.manifest, train, chosen)
    teacher = context.config.teacher
    phase = coreset_phase(pairs, teacher.lr_image, teacher.lr_text)
    selected = DistilledSet((phase,), loss="infonce", **context.description())
    if context.ranks.is_main:
        selected.save(context.folder.distilled)
    context.ranks.barrier()
    return selected


def _joint_features(context: RunContext, captions: Tensor, experts: list[Path], epoch: int) -> Tensor:
    """Return the joint features of training pairs by the first teacher after an epoch."""
    parameters = _teacher_parameters(context, experts, epoch)
    return joint_features(context.factory.build(), parameters, context.splits.train, captions)


def _teacher_parameters(context: RunContext, experts: list[Path], epoch: int) -> Parameters:
    found = Trajectory.open(experts[0]).snapshot(epoch)
    return {name: value.to(context.device) for name, value in found.items()}


def check_shares(context: RunContext) -> None:
    """Raise `ConfigError` if the stretches of an outer step cannot be shared out evenly among the ranks."""
    stretches, world = context.config.distill.trajectories_per_step, context.ranks.world
    if stretches % world:
        raise ConfigError(
            f"distill.trajectories_per_step is {stretches}, but {world} processes share the stretches of a step: "
            f"it must be a multiple of {world}; set it so, or start as many processes as divide it"
        )
