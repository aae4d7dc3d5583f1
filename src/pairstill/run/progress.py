"""What a person sees of a run: sentences, bars, and where it stands; all of it is made of the run's events."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import Progress, TaskID

from pairstill.core.formatting import human_bytes
from pairstill.events import (
    CheckpointDamaged,
    Counted,
    DistilledFound,
    Emit,
    Event,
    ImagesChecked,
    InversionStep,
    ModeChosen,
    Notice,
    OuterStep,
    PhasesKnown,
    RowsComputed,
    StageBegan,
    TeacherEpoch,
    TeachersAwaited,
    TeachersFound,
    TeachingBegan,
    Validated,
)
from pairstill.run.bars import progress_bar
from pairstill.run.eta import ETA

T = TypeVar("T")
TEACHERS = "Epochs of the teachers"


class Tally:
    """Counts something, and tells of it."""

    def __init__(self, emit: Emit, what: str, total: int, done: int = 0) -> None:
        """Begin to count.

        Args:
            emit: told of the count.
            what: the name of what is counted.
            total: how many there are.
            done: how many are done already.
        """
        self._emit, self._what, self._total, self._done, self._status = emit, what, total, done, ""
        self._tell()

    def say(self, status: str) -> None:
        """Tell what is done now."""
        self._status = status
        self._tell()

    def advance(self, by: int = 1, status: str | None = None) -> None:
        """Count more of them; without a new status the last one stays."""
        self._done += by
        self._status = self._status if status is None else status
        self._tell()

    def reach(self, done: int, status: str) -> None:
        """Tell how many are done now, and what else there is to say."""
        self._done = done
        self.say(status)

    def counted(self, items: Iterable[T]) -> Iterator[T]:
        """Yield what comes, and count it."""
        for item in items:
            self.advance()
            yield item

    def _tell(self) -> None:
        self._emit(Counted(what=self._what, done=self._done, total=self._total, status=self._status))


@dataclass(frozen=True)
class _Bar:
    """How far something is; without a status the last one stays. `begins` if all of it was done before."""

    name: str
    done: int
    total: int | None
    status: str | None = None
    begins: bool = False


class Display:
    """Shows the events of a run on a console: sentences at once, bars while they are open."""

    def __init__(self, console: Console, eta: ETA, phases: int) -> None:
        """Show nothing yet.

        Args:
            console: where it is shown.
            eta: what is left to do.
            phases: how many phases the settings have.
        """
        self._console, self._eta, self._phases = console, eta, phases
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._recall, self._epochs, self._teachers = "", (0, 0), TEACHERS
        self._mode = ""

    @contextmanager
    def bars(self) -> Iterator[None]:
        """Show bars of what events tell, and where the run stands; where bars are shown already they go on."""
        if self._progress is not None:
            yield
            return
        with progress_bar(self._console, self._eta.heading, self._eta.ahead) as progress:
            self._progress = progress
            try:
                yield
            finally:
                self._progress, self._tasks = None, {}

    def hear(self, event: Event) -> None:
        """Show an event."""
        before = self._eta.place()
        self._eta.hear(event)
        match event:
            case StageBegan():
                place = self._eta.place()
                if place != before and not self._console.is_terminal:  # where it stands above the bars
                    self._console.print(place, highlight=False)
            case PhasesKnown():
                self._phases = len(event.phases)
            case Validated():
                self._recall = f"recall {event.validation_mean_recall:.1f}, "
            case TeachingBegan():
                self._epochs = event.done, event.epochs
                self._teachers = TEACHERS + ("" if event.tower is None else f", {event.tower}")
            case TeacherEpoch():
                self._epochs = self._epochs[0] + 1, self._epochs[1]
            case _:
                pass
        if (said := self._said(event)) is not None:
            self._console.print(said.text, style="dim" if said.quiet else "yellow", markup=False)
        if self._progress is not None and (bar := self._bar(event)) is not None:
            self._draw(self._progress, bar)

    def _said(self, event: Event) -> Notice | None:
        """Return what an event is in words, if it is to be said at once."""
        match event:
            case Notice():
                return event
            case CheckpointDamaged():
                return Notice(text=event.problem)
            case DistilledFound():
                return Notice(
                    text=f"The same distillation was done in {event.folder}; its pairs are copied", quiet=True
                )
            case TeachersFound():
                of = event.found + event.missing
                return Notice(text=f"Teachers found again: {event.found} of {of} in {event.folder}", quiet=True)
            case TeachersAwaited():
                return Notice(text=f"Waiting: {event.holder} trains teachers in {event.folder}")
            case ModeChosen():
                before, self._mode = self._mode, _mode_in_words(event)
                return None if self._mode == before else Notice(text=self._mode, quiet=True)
            case _:
                return None

    def _bar(self, event: Event) -> _Bar | None:
        """Return how far something is by an event."""
        match event:
            case ImagesChecked():
                return _Bar("Checking the pairs", event.done, event.total)
            case RowsComputed():
                return _Bar(event.what, event.done, event.total)
            case Counted():
                return _Bar(event.what, event.done, event.total, event.status, begins=True)
            case TeachingBegan():
                return _Bar(self._teachers, *self._epochs, begins=True)
            case TeacherEpoch():
                recall = f"validation recall {event.validation_mean_recall:.1f}"
                return _Bar(self._teachers, *self._epochs, f"loss {event.loss:.3f}, {recall}")
            case OuterStep():
                return self._step_bar(event)
            case InversionStep():
                return _Bar(
                    f"{self._named(event.phase)}, inversion", event.step, event.steps, f"error {event.error:.4f}"
                )
            case _:
                return None

    def _named(self, phase: int) -> str:
        return f"Phase {phase} of {self._phases}"

    def _step_bar(self, step: OuterStep) -> _Bar:
        """Return how far a stage of a phase is; say if steps of it were done before, in another sitting."""
        name = self._named(step.phase) + ("" if step.stage == "pixels" else f", {step.stage}")
        if step.step > 1 and name not in self._tasks:
            going_on = f"{name}: going on at step {step.step} of {step.steps}"
            self._console.print(going_on, style="dim", highlight=False)
        rates = " ".join(f"{rate:.3f}" for rate in step.rates.values())
        status = f"{self._recall}loss {sum(step.losses.values()):.3f}{rates and f', rates {rates}'}"
        return _Bar(name, step.step, step.steps, status)

    def _draw(self, progress: Progress, bar: _Bar) -> None:
        if bar.name not in self._tasks:
            before = bar.done if bar.begins else 0
            self._tasks[bar.name] = progress.add_task(bar.name, total=bar.total, completed=before, status="")
        fields: dict[str, Any] = {} if bar.status is None else {"status": bar.status}
        progress.update(self._tasks[bar.name], total=bar.total, completed=bar.done, **fields)


def _mode_in_words(chosen: ModeChosen) -> str:
    why = ""
    if chosen.stored_bytes is not None and chosen.limit_bytes is not None:
        stored, limit = human_bytes(chosen.stored_bytes), human_bytes(chosen.limit_bytes)
        why = f" (storing all inner steps' graphs: about {stored}; allowed: {limit})"
    return f"Hypergradient: {chosen.mode}{why}"
