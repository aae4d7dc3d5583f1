"""What happens in a run: a frozen class for each kind of event, and the stream that carries them to all who listen.

The log, the bars, the time that is left, trackers and the probe of a plan listen; whoever does the work knows none of
them. Maths emits nothing: its steps are returned or yielded, and the stages tell of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from pairstill.config import Mode, PhaseConfig

Space = Literal["pixels", "features"]
"""Where outer steps move pairs: among `features` in the warm start of features first."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a run.

    Attributes:
        name: what `metrics.jsonl` calls it, with the fields as keys; None if the log does without it.
    """

    name: ClassVar[str | None] = None

    def to_json(self) -> dict[str, Any]:
        """Return the values that the log has of it, by their keys there."""
        return asdict(self)


def _without_one_tower(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of an event, without the tower where there is but one."""
    return {key: value for key, value in values.items() if key != "tower" or value is not None}


Emit = Callable[[Event], None]
"""Tells all who listen of an event."""


def silent(event: Event) -> None:
    """Tell nobody."""


class Events:
    """A stream of events: every listener hears each of them, one listener after the other."""

    def __init__(self, *listeners: Emit) -> None:
        """Let these listen, in this order."""
        self._listeners = listeners

    def emit(self, event: Event) -> None:
        """Tell every listener of an event."""
        for listener in self._listeners:
            listener(event)


@dataclass(frozen=True, kw_only=True)
class StagesPlanned(Event):
    """The stages that will be done, in order."""

    stages: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StageBegan(Event):
    """The beginning of a stage; those before it are over."""

    name = "stage_began"
    stage: str


@dataclass(frozen=True, kw_only=True)
class StageEnded(Event):
    """The end of a stage, by itself or by an error.

    Attributes:
        stage: its name.
        seconds: what it took in this sitting.
        peak_memory_bytes: the most memory in use at once until now.
    """

    name = "stage"
    stage: str
    seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """A sentence for people: a warning, or, if it is `quiet`, what is good to know."""

    text: str
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Counted(Event):
    """How far something is that is counted, such as the students of a study.

    Attributes:
        what: its name.
        done: how many are done.
        total: of how many.
        status: what else there is to say.
    """

    what: str
    done: int
    total: int
    status: str = ""


@dataclass(frozen=True, kw_only=True)
class ImagesChecked(Event):
    """How many of the real images are checked; how many there are is not known while they are listed."""

    done: int
    total: int | None


@dataclass(frozen=True, kw_only=True)
class PairDropped(Event):
    """A bad pair that was left out, and why."""

    name = "dropped_pair"
    problem: str


@dataclass(frozen=True, kw_only=True)
class RowsComputed(Event):
    """How many rows that are kept for later are computed, such as `Encoding the train split: texts`."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class TeachersFound(Event):
    """Teachers that were there already.

    Attributes:
        folder: where they are.
        found: how many.
        missing: how many are still to be trained.
    """

    name = "teachers_found"
    folder: str
    found: int
    missing: int


@dataclass(frozen=True, kw_only=True)
class TeachersAwaited(Event):
    """A wait until another process has trained the same teachers.

    Attributes:
        holder: which process.
        folder: where.
    """

    holder: str
    folder: str


@dataclass(frozen=True, kw_only=True)
class TeachingBegan(Event):
    """The beginning of training.

    Attributes:
        epochs: of all teachers, behind one tower.
        done: how many of them are done.
        later: epochs of teachers behind other towers, which come after these, at most.
        tower: the name of the tower, where there are several.
    """

    epochs: int
    done: int
    later: int = 0
    tower: str | None = None


@dataclass(frozen=True, kw_only=True)
class TeacherEpoch(Event):
    """An epoch of a teacher.

    Attributes:
        expert: the teacher's number, from 0.
        epoch: the epoch's, from 1.
        loss: mean over its mini-batches.
        validation_mean_recall: after it, in percent.
        tower: the name of the tower, where there are several.
    """

    name = "teacher_epoch"
    expert: int
    epoch: int
    loss: float
    validation_mean_recall: float
    tower: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the values that the log has of it; that of one tower alone does not name it."""
        return _without_one_tower(asdict(self))


@dataclass(frozen=True, kw_only=True)
class PhasesChosen(Event):
    """Phases that have just set themselves."""

    name = "phases"
    phases: tuple[PhaseConfig, ...]


@dataclass(frozen=True, kw_only=True)
class PhasesKnown(Event):
    """The phases of the run, once they have set themselves, now or in another sitting."""

    phases: tuple[PhaseConfig, ...]


@dataclass(frozen=True, kw_only=True)
class DistilledFound(Event):
    """Pairs that another run in `folder` has made of the same content, and that were copied."""

    name = "distilled_found"
    folder: str


@dataclass(frozen=True, kw_only=True)
class ModeChosen(Event):
    """The way of the hypergradient.

    Attributes:
        mode: the way.
        stored_bytes: what storing all inner steps' graphs takes; None where that was not asked.
        limit_bytes: what it may take.
    """

    name = "hypergradient"
    mode: Mode
    stored_bytes: int | None
    limit_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class OuterStep(Event):
    """An outer step.

    Attributes:
        phase: the phase's number, from 1.
        stage: what is distilled.
        step: the step's number in its stage, from 1.
        steps: steps of the stage.
        losses: loss by part, the mean over the moves of the step.
        notes: what else the objective says of the step, as JSON values.
        rates: the learned rates after the step, by name.
    """

    name = "distill_step"
    phase: int
    stage: Space
    step: int
    steps: int
    losses: Mapping[str, float]
    notes: Mapping[str, Any]
    rates: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the values that the log has of it, where notes and rates stand beside the others."""
        values = asdict(self)
        notes, rates = values.pop("notes"), values.pop("rates")
        return {**values, **notes, **rates}


@dataclass(frozen=True, kw_only=True)
class Validated(Event):
    """The validation recall of the pairs so far, in percent, after a step of a phase."""

    name = "validation"
    phase: int
    step: int
    validation_mean_recall: float


@dataclass(frozen=True, kw_only=True)
class CheckpointDamaged(Event):
    """What is wrong with a checkpoint, where the one before it takes its place."""

    name = "damaged_checkpoint"
    problem: str


@dataclass(frozen=True, kw_only=True)
class InversionStep(Event):
    """A step that finds pixels for features.

    Attributes:
        phase: the phase's number, from 1.
        step: the step's, from 1, over all images.
        steps: all of them.
        error: mean relative square error of the images at hand.
    """

    phase: int
    step: int
    steps: int
    error: float


@dataclass(frozen=True, kw_only=True)
class InversionEnded(Event):
    """How near the pixels of a phase come to its features: the mean relative square error over all images."""

    name = "inversion"
    phase: int
    relative_square_error: float


@dataclass(frozen=True, kw_only=True)
class RatesTried(Event):
    """A student that was trained in order to choose the rates of a row's students.

    Attributes:
        method: the row's name.
        image: what the image side's rates were multiplied with.
        text: the same of the text side.
        validation_mean_recall: of its best epoch, in percent; None where it diverged.
        tower: the name of the image tower, where there are several.
    """

    name = "rates"
    method: str
    image: float
    text: float
    validation_mean_recall: float | None
    tower: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the values that the log has of it; that of one tower alone does not name it."""
        return _without_one_tower(asdict(self))


@dataclass(frozen=True, kw_only=True)
class StudentMeasured(Event):
    """A student, of the run's pairs or of a reference, that was measured.

    Attributes:
        student: its number, from 0.
        method: the row's name.
        protocol: by which it was measured.
        measured_as: digest of what decides the numbers.
        mean_recall: on the test split, in percent.
        tower: the name of the image tower, where there are several.
    """

    name = "student"
    student: int
    method: str
    protocol: str
    measured_as: str
    mean_recall: float
    tower: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the values that the log has of it; that of one tower alone does not name it."""
        return _without_one_tower(asdict(self))


@dataclass(frozen=True, kw_only=True)
class Probing(Event):
    """What a plan probes next."""

    what: str
