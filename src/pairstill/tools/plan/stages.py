"""What each stage of a run will take: what the probe found, multiplied by how often the run does it."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from pairstill.config import RunConfig
from pairstill.core.formatting import counted
from pairstill.evaluate.measurement import scales_are_chosen
from pairstill.tools.plan.counts import Counts
from pairstill.tools.plan.distill import DistillProbe
from pairstill.tools.plan.students import StudentSpeeds


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a run.

    Attributes:
        name: the stage.
        seconds: predicted.
        detail: how the prediction came about, for people.
    """

    name: str
    seconds: float
    detail: str


@dataclass(frozen=True)
class Speeds:
    """Seconds of a teacher's mini-batch, and of measuring recall on each split; of one behind each image tower."""

    batch: float
    val_recall: float
    test_recall: float

    @staticmethod
    def total(towers: "Sequence[Speeds]") -> "Speeds":
        """Return the sum over image towers."""
        return Speeds(*map(sum, zip(*map(astuple, towers), strict=True)))


@dataclass(frozen=True)
class Found:
    """All that the probe found.

    Attributes:
        encoding: seconds of reading and encoding all pairs.
        teachers: how many are there already, in the run's folder or a shared one, over all image towers.
        speeds: of teachers and recalls.
        distillation: of the phases.
        students: of the students.
    """

    encoding: float
    teachers: int
    speeds: Speeds
    distillation: DistillProbe
    students: StudentSpeeds


def planned_stages(config: RunConfig, counts: Counts, found: Found) -> tuple[PlannedStage, ...]:
    """Multiply what the probe found by how often the run does it."""
    evaluate = config.evaluate
    return (
        PlannedStage("prepare", found.encoding, "unless it is cached"),
        _teaching(config, counts, found),
        PlannedStage("distill", _distilling(config, counts, found), _steps(config, counts, found)),
        PlannedStage(
            "evaluate",
            _measuring(config, counts, found),
            f"{counted(evaluate.num_students, 'student')} of {', '.join(evaluate.methods)}",
        ),
    )


def _teaching(config: RunConfig, counts: Counts, found: Found) -> PlannedStage:
    """Return what is left of the teachers: those that are there are not trained again."""
    towers = len(config.images)
    wanted = config.teacher.num_experts * towers
    there = f"{found.teachers} of {counted(wanted, 'teacher')} found" if found.teachers else ""
    epochs = counts.teacher_epochs * (wanted - found.teachers) // wanted
    left = f"{counted(epochs * towers, 'epoch')} of {counts.teacher_batches} mini-batches" if epochs else ""
    seconds = epochs * (counts.teacher_batches * found.speeds.batch + found.speeds.val_recall)
    return PlannedStage("teach", seconds, ", ".join(filter(None, (there, left))))


def _student_phases(config: RunConfig, students: StudentSpeeds) -> list[float]:
    """Return the seconds of a student's training on each phase."""
    return [config.student.epochs * epoch for epoch in students.epochs]


def _distilling(config: RunConfig, counts: Counts, found: Found) -> float:
    """Return the seconds of the distillation."""
    distill, probed = config.matching, found.distillation
    recalls = counts.recalls_per_phase * found.speeds.val_recall
    phases = _student_phases(config, found.students)
    # while a phase is distilled, its students go through the earlier ones too, but only its own epochs are validated
    validations = [found.students.tower + sum(phases[: number + 1]) + recalls for number in range(len(phases))]
    first = distill.features_first.steps
    trial = probed.warm_seconds[0] if first else distill.rate_trials.steps * probed.step_seconds[0]  # at most
    tried = distill.rate_trials.count() * (trial + validations[0])
    steps = sum(
        phase.outer_steps * step + times * validation
        for phase, step, times, validation in zip(
            distill.phases, probed.step_seconds, counts.validations, validations, strict=True
        )
    )
    return tried + sum(probed.warm_seconds) + steps


def _steps(config: RunConfig, counts: Counts, found: Found) -> str:
    """Return what the distillation does, in words."""
    distill, probed = config.matching, found.distillation
    pairs = zip(distill.phases, probed.step_seconds, strict=True)
    steps = ", ".join(f"{phase.outer_steps} x {seconds:.2g} s" for phase, seconds in pairs)
    at_most = "at most " if distill.patience else ""
    warm = "a warm start, " if any(probed.warm_seconds) else ""
    if distill.auto_phases is not None:
        warm += f"as if {len(distill.phases)} equal phases set themselves, without the choice, "
    tried = f"{trials} short ones that choose its rates, " if (trials := distill.rate_trials.count()) else ""
    return f"{tried}{at_most}{steps}, {warm}and {sum(counts.validations)} validations"


def _measuring(config: RunConfig, counts: Counts, found: Found) -> float:
    """Return the seconds of training and measuring all students."""
    student, evaluate = config.student, config.evaluate
    speeds, students = found.speeds, found.students
    phases = _student_phases(config, students)
    choosers = {"strict": speeds.val_recall, "paper": speeds.test_recall}
    choice = sum(choosers[protocol] for protocol in evaluate.protocols)  # of an epoch
    choices = counts.recalls_per_phase * choice
    by_method = {
        "closed_form": students.tower + speeds.val_recall,
        "distilled": students.tower + sum(phases) + len(phases) * choices,
        "random": student.epochs * students.random_epoch + choices,
        "full": counts.full_epochs * (counts.teacher_batches * speeds.batch + choice),
    }
    from_jpeg = {"on_disk_jpeg": by_method["distilled"]}  # without the choice of its quality
    by_method |= {"on_disk": by_method["distilled"], "random_on_disk": by_method["random"], **from_jpeg}
    last = len(evaluate.protocols) * speeds.test_recall
    trained = evaluate.num_students * sum(by_method[method] + last for method in evaluate.methods)
    choosing = sum(by_method[method] for method in evaluate.methods if scales_are_chosen(config, method))
    return trained + counts.trials * choosing
