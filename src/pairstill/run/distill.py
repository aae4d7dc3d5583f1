"""The pairs of a run: distilled, or chosen among real ones."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean

from torch import Tensor

from pairstill.config import TrajectoryConfig
from pairstill.core.errors import ConfigError
from pairstill.core.rng import make_generator
from pairstill.distill.coreset import candidates, choose_rows, coreset_phase, joint_features
from pairstill.distill.features_first import FeatureRange
from pairstill.distill.initial import draw_glossary, real_pairs
from pairstill.distill.phases import Distillation
from pairstill.distill.recipe import Recipe, towers_recipe
from pairstill.distilled import DistilledSet
from pairstill.evaluate.closed_form import has_closed_form
from pairstill.methods import METHODS
from pairstill.methods.photos import chosen_photos
from pairstill.run.context import RunContext
from pairstill.run.description import description
from pairstill.run.phases import settle_phases
from pairstill.run.rate_trials import DistillScales, at_scales, chosen_rates
from pairstill.run.reuse import begin, content_key, make_known, take_known
from pairstill.run.teach import teach, teach_all
from pairstill.teachers.training import epochs_to_keep
from pairstill.teachers.trajectory import parameters_after


def distill(context: RunContext) -> DistilledSet:
    """Distil what is not distilled yet and return the distilled set.

    Raises:
        ConfigError: the segments of an outer step cannot be shared out evenly among the ranks.
    """
    if context.method.rule is not None:
        raise ConfigError(f"method {context.method.name} chooses real pairs; use `pairstill select` or `pairstill run`")
    check_shards(context)
    if context.world.from_main(context.folder.is_distilled):
        return DistilledSet.load(context.folder.distilled)
    context = settle_phases(context)
    key = content_key(context)
    if context.world.from_main(lambda: take_known(context, key)):
        return DistilledSet.load(context.folder.distilled)
    config, distill = context.config, context.config.loop
    if distill.blend and config.heads.kind == "linear":
        context.warn(
            "distill.blend is on but heads.kind is linear: a linear head of a blend is the blend of what it makes of "
            "the parts, so that blended pairs teach nothing new; set heads.kind to residual, as RepBlend has it"
        )
    if context.world.is_main:
        begin(context, key)  # before anything is chosen
    experts = _experts(context)
    whole = Distillation(
        config=distill,
        recipe=_recipe(context, experts),
        device=context.device,
        describe={**description(context), "glossary": _glossary(context)},
        world=context.world,
        feature_ranges=_feature_ranges(context),
        validate=lambda distilled: context.world.from_main(lambda: _validation(context, distilled)),
    )
    with context.timed("distill"), context.display.bars():
        distilled = _at_best_rates(context, whole, experts).run(context.folder.distillation, context.emit)
    if context.world.is_main:
        distilled.save(context.folder.distilled)
        make_known(context, key)
    return distilled


def _at_best_rates(context: RunContext, whole: Distillation, experts: list[list[Path]]) -> Distillation:
    """Return a distillation at the rates that short ones choose, if they are to; the pairs say how they were chosen."""

    def at(scales: DistillScales) -> Distillation:
        rated, loop = at_scales(context, scales)
        return replace(whole, config=loop, recipe=_recipe(rated, experts))

    choice = chosen_rates(context, at, partial(_validation, context))
    if not choice.trials:
        return whole
    provenance = {**whole.describe["provenance"], "rates": choice.to_json()}
    return replace(at(choice.scales), describe={**whole.describe, "provenance": provenance})


def _experts(context: RunContext) -> list[list[Path]]:
    """Return the files of the teachers that the method reads, tower by tower; those that are missing are trained."""
    if context.config.towers:
        return teach_all(context)
    return [teach(context) if "trajectories" in context.method.needs else []]


def _recipe(context: RunContext, experts: list[list[Path]]) -> Recipe:
    """Return what the method distils, with its teachers."""
    if context.config.towers:
        towers = context.towers
        # photos are chosen with the first tower
        drawn = chosen_photos(towers[0], experts[0]) if context.config.loop.images == "kept" else None
        return towers_recipe(towers, experts, context.pixel_space, drawn=drawn)
    return context.method.recipe(context, experts[0])


def _glossary(context: RunContext) -> tuple[str, ...]:
    """Return the captions that go along with the pairs."""
    count = context.config.loop.glossary
    if not count:
        return ()  # without a look at all captions
    generator = make_generator(context.config.distillation_seed, "glossary")
    return draw_glossary(context.manifest.captions("train"), count, generator)


def _feature_ranges(context: RunContext) -> tuple[FeatureRange, ...]:
    """Return the range of the training images' features by each tower, if a warm start keeps to it."""
    first = context.config.loop.features_first
    if not (first.steps and first.in_range):
        return ()
    return tuple(FeatureRange.of(tower.splits.train.image_batches()) for tower in context.towers)


def _validation(context: RunContext, distilled: DistilledSet) -> float:
    """Return the validation recall of the pairs so far; of several towers, the mean of theirs."""
    if context.config.towers:
        return fmean(_validation(one, distilled.of_tower(number)) for number, one in enumerate(context.towers))
    # the student that watches decides which pairs are kept, so that it belongs to the distillation
    evaluator = replace(context.evaluator, seed=context.config.distillation_seed)
    if context.method.student == "closed_form" and has_closed_form(context.factory):
        return evaluator.validate_closed_form(distilled, form=context.closed_form)  # the student that it is made for
    return evaluator.validate(distilled)


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
    if context.world.from_main(context.folder.is_distilled):
        return DistilledSet.load(context.folder.distilled)
    experts = [] if rule == "random" else teach(context)
    train, count = context.splits.train, context.config.distill.num_pairs
    with context.timed("select"):
        captions = candidates(train, count, make_generator(context.config.distillation_seed, "coreset"))
        snapshots = partial(_joint_features, context, captions, experts)
        # the settings decide, not what shared teachers keep beyond them
        kept = epochs_to_keep(context.config.teacher, context.config.distill)
        chosen = captions[choose_rows(rule, count, kept, snapshots)]
        pairs = real_pairs(context.manifest, train, chosen)
    teacher = context.config.teacher
    phase = coreset_phase(pairs, teacher.lr_image, teacher.lr_text)
    selected = DistilledSet((phase,), loss="infonce", **description(context))
    if context.world.is_main:
        selected.save(context.folder.distilled)
    context.world.barrier()
    return selected


def _joint_features(context: RunContext, captions: Tensor, experts: list[Path], epoch: int) -> Tensor:
    """Return the joint features of training pairs by the first teacher after an epoch."""
    parameters = parameters_after(experts[0], epoch, context.device)
    return joint_features(context.factory.build(), parameters, context.splits.train, captions)


def check_shards(context: RunContext) -> None:
    """Raise `ConfigError` if the segments of an outer step cannot be shared out evenly among the ranks."""
    distill, world = context.config.distill, context.world.size
    if not isinstance(distill, TrajectoryConfig):
        return
    segments = distill.trajectories_per_step
    if segments % world:
        raise ConfigError(
            f"distill.trajectories_per_step is {segments}, but {world} processes share the segments of a step: "
            f"it must be a multiple of {world}; set it so, or start as many processes as divide it"
        )
