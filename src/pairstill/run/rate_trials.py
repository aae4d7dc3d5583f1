"""Rates of a distillation that short ones choose, written down, and the same from then on."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pairstill.config import LearnedConfig, TrajectoryConfig
from pairstill.core.errors import NumericalError
from pairstill.distill.phases import Distillation
from pairstill.distill.rate_trials import at_outer_scale, trial_loop
from pairstill.distilled import DistilledSet
from pairstill.evaluate.rates import Chosen, Factors, Trial, choose_scales
from pairstill.events import Notice
from pairstill.run.context import RunContext
from pairstill.run.rates import stored_trials
from pairstill.storage import write_json


@dataclass(frozen=True)
class DistillScales(Factors):
    """What the outer rates, and the initial inner rates of both sides, are multiplied with."""

    outer: float = 1.0
    inner: float = 1.0


def at_scales(context: RunContext, scales: DistillScales) -> tuple[RunContext, TrajectoryConfig]:
    """Return the context of the run with scaled rates, and the settings of its outer loop."""
    config, distill = context.config, context.config.distill
    assert isinstance(distill, LearnedConfig)
    if scales.inner != 1.0:
        image, text = (scales.inner * rate for rate in config.initial_rates)
        distill = replace(distill, lr_image=image, lr_text=text)
    if isinstance(distill, TrajectoryConfig):
        distill = at_outer_scale(distill, scales.outer)
        return context.with_config(replace(config, distill=distill)), distill
    # the outer rates of other methods are in part their own, not settings
    return context.with_config(replace(config, distill=distill)), at_outer_scale(distill.loop, scales.outer)


def chosen_rates(
    context: RunContext, at: Callable[[DistillScales], Distillation], validate: Callable[[DistilledSet], float]
) -> Chosen[DistillScales]:
    """Return the scales of the rates of a distillation, which short ones choose now if they are to and have not.

    Every trial is kept as soon as it is done, and goes on from its checkpoint; every rank calls it.

    Args:
        context: the run, whose phases are known.
        at: returns the whole distillation at scaled rates.
        validate: returns the validation recall of pairs, in percent; the main rank alone calls it.

    Raises:
        NumericalError: every trial diverged.
        ArtifactError: what was kept is damaged.
    """
    distill, world = context.config.distill, context.world
    assert isinstance(distill, LearnedConfig)
    trials = distill.rate_trials
    if not trials.steps:
        return Chosen(DistillScales())
    # their names begin like those of phases: what has them is begun, see `run.reuse`
    folder = context.folder.distillation / "phases.rates"
    path = context.folder.distillation / "phases.rates.json"
    known = {trial.scales: trial.recall for trial in world.from_main(lambda: stored_trials(path, DistillScales))}

    def recall(scales: DistillScales) -> float | None:
        if scales not in known:
            short = folder / f"{scales.outer:g}_{scales.inner:g}"
            distillation = at(scales)
            distillation = replace(distillation, config=trial_loop(distillation.config, trials.steps))
            known[scales] = _tried(distillation, validate, short)
            if world.is_main:
                tried = tuple(Trial(each, value) for each, value in known.items())
                write_json(path, Chosen(scales, tried).to_json())
                shutil.rmtree(short, ignore_errors=True)
            world.barrier()
            tally.advance()
        return known[scales]

    learned = context.method.student == "learned_rates"
    sides, before = ("outer", "inner") if learned else ("outer",), len(known)
    with context.counting("Short distillations that choose rates", trials.count(len(sides)), before) as tally:
        choice = choose_scales(recall, DistillScales(), sides, trials.scales)
    if len(known) > before:
        said = f"Rates of the distillation: outer times {choice.scales.outer:g}, inner times {choice.scales.inner:g}"
        context.emit(Notice(text=f"{said}, which validation chose of {choice.rates_tried}", quiet=True))
    return choice


def _tried(short: Distillation, validate: Callable[[DistilledSet], float], folder: Path) -> float | None:
    """Return the validation recall of the pairs of a short distillation, or None where it, or its student, diverges."""
    try:
        made = short.run(folder)  # which diverges on all ranks, or on none
    except NumericalError:
        return None

    def recall() -> float | None:
        try:
            return validate(made)
        except NumericalError:
            return None

    return short.world.from_main(recall)
