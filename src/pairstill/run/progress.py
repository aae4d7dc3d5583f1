"""What a person sees of a distillation, and what its log holds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from rich.progress import Progress, TaskID

from pairstill.core.formatting import human_bytes
from pairstill.distill.bilevel.solvers import Choice
from pairstill.distill.features_first import OnInversion
from pairstill.distill.loop import StepReport
from pairstill.distilled import DistilledSet
from pairstill.evaluate.closed_form import has_closed_form
from pairstill.run.context import RunContext


@dataclass(frozen=True)
class Watch:
    """What a distillation tells while it runs.

    Attributes:
        on_step: hears outer steps.
        on_checkpoint: validates the pairs so far.
        on_inversion: begins to hear, for a phase, of the steps that find pixels for features.
    """

    on_step: Callable[[StepReport], None]
    on_checkpoint: Callable[[DistilledSet, int], float]
    on_inversion: Callable[[int], OnInversion]


@dataclass
class _Last:
    """The last validation recall, for display."""

    value: float | None = None


def mode_shower(context: RunContext) -> Callable[[Choice], None]:
    """Return what logs the hypergradient's mode of a phase, and shows it if it is not that of the phase before."""
    shown = ""

    def show(choice: Choice) -> None:
        nonlocal shown
        context.folder.metrics.write("hypergradient", **choice.to_json())
        why = ""
        if choice.stored_bytes is not None and choice.limit_bytes is not None:
            stored, limit = human_bytes(choice.stored_bytes), human_bytes(choice.limit_bytes)
            why = f" (storing all inner steps' graphs: about {stored}; allowed: {limit})"
        before, shown = shown, f"Hypergradient: {choice.solver.mode}{why}"
        if shown != before:
            context.console.print(shown, style="dim")

    return show


def show_damage(context: RunContext, message: str) -> None:
    """Log and show that a checkpoint is damaged, where the one before it takes its place."""
    context.folder.metrics.write("damaged_checkpoint", problem=message)
    context.console.print(message, style="yellow", markup=False)


def _named(context: RunContext, phase: int, on: str) -> str:
    return f"Phase {phase} of {len(context.config.distill.phases)}{on}"


def _begin(context: RunContext, progress: Progress, report: StepReport) -> TaskID:
    """Begin to show a stage of a phase by its first step here; say if others were done before."""
    name = _named(context, report.phase, "" if report.stage == "pixels" else f", {report.stage}")
    if report.step > 1:
        context.console.print(f"{name}: going on at step {report.step} of {report.steps}", style="dim", highlight=False)
    return progress.add_task(name, total=report.steps, status="")


def _validate(context: RunContext, distilled: DistilledSet) -> float:
    """Return the validation recall of the pairs so far; of several towers, the mean of theirs."""
    if context.config.towers:
        return fmean(_validate(one, distilled.of_tower(number)) for number, one in enumerate(context.towers))
    # the student that watches decides which pairs are kept, so that it belongs to the distillation
    evaluator = replace(context.evaluator, seed=context.config.distillation_seed)
    if context.method.student == "closed_form" and has_closed_form(context.factory):
        return evaluator.validate_closed_form(distilled, form=context.closed_form)  # the student that it is made for
    return evaluator.validate(distilled)


@contextmanager
def distill_progress(context: RunContext) -> Iterator[Watch]:
    """Show and log outer steps, validations, and how near found pixels come to their features."""
    recall, inversion_steps = _Last(), context.config.loop.features_first.inversion_steps
    validate = partial(_validate, context)
    with context.progress() as progress:
        tasks: dict[tuple[int, str], TaskID] = {}

        def on_step(report: StepReport) -> None:
            context.folder.metrics.write("distill_step", **report.to_json())
            task = (report.phase, report.stage)
            if task not in tasks:
                tasks[task] = _begin(context, progress, report)
            rates = " ".join(f"{rate:.3f}" for rate in report.rates.values())
            shown = "" if recall.value is None else f"recall {recall.value:.1f}, "
            status = f"{shown}loss {sum(report.losses.values()):.3f}{rates and f', rates {rates}'}"
            progress.update(tasks[task], completed=report.step, status=status)

        def on_checkpoint(distilled: DistilledSet, step: int) -> float:
            recall.value = context.world.from_main(lambda: validate(distilled))
            context.folder.metrics.write(
                "validation", phase=len(distilled.phases), step=step, validation_mean_recall=recall.value
            )
            return recall.value

        def on_inversion(phase: int) -> OnInversion:
            task, errors = (
                progress.add_task(_named(context, phase, ", inversion"), total=None, status=""),
                list[float](),
            )

            def hear(step: int, steps: int, error: float) -> None:
                context.eta.hear("inversion_step", {"phase": phase, "step": step, "steps": steps})
                progress.update(task, total=steps, completed=step, status=f"error {error:.4f}")
                if step % inversion_steps == 0:
                    errors.append(error)  # some images are done
                if step == steps:
                    context.folder.metrics.write("inversion", phase=phase, relative_square_error=fmean(errors))

            return hear

        yield Watch(on_step, on_checkpoint, on_inversion)
