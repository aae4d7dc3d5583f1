"""Teachers by epoch, and students of pairs distilled from starts no later than that (Figure 2a and Table 7).

Every recall is of the validation split: nothing here reads the test split.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from pairstill.analyze.inputs import analysis_seed, whole_range
from pairstill.analyze.settings import TeachersAnalysis
from pairstill.config import PhaseConfig
from pairstill.core.errors import ConfigError
from pairstill.core.rng import make_generator
from pairstill.distill.bilevel.objective import TrajectoryObjective
from pairstill.distill.checkpoints import discard_checkpoints
from pairstill.distill.initial import draw_pairs
from pairstill.distill.learned import Learned
from pairstill.distill.loop import LoopSettings, PhaseProblem, distill_phase
from pairstill.distill.pairs import IMAGES
from pairstill.evaluate.protocol import recalls_on
from pairstill.evaluate.student import StudentPhase, train_student
from pairstill.events import Event, OuterStep
from pairstill.report.figures import Cell
from pairstill.run.context import RunContext
from pairstill.run.problems import matching_problem
from pairstill.storage import load_tensors, read_list, save_tensors, write_json
from pairstill.teachers.trajectory import Trajectory


@dataclass(frozen=True)
class StudentRecall:
    """One student on the validation split.

    Attributes:
        best: mean recall at its best epoch, in percent.
        last: mean recall after its last epoch.
    """

    best: float
    last: float


@dataclass(frozen=True)
class TeachersAndStudents:
    """Mean recalls on the validation split, in percent.

    Attributes:
        teachers: of each expert after every epoch, from epoch 0.
        students: of each student, by the last start epoch of its distillation.
    """

    teachers: list[list[float]]
    students: dict[int, list[StudentRecall]]


def measure_teachers(
    context: RunContext, experts: list[Path], settings: TeachersAnalysis, work: Path
) -> TeachersAndStudents:
    """Return recalls of the teachers, and of students of one short distillation for each last start epoch.

    The distillations are the run's without phases, shortcuts and moving average: one subset of as many pairs as the run
    has, start epochs from 0 to T+, all from the same real pairs. Behind a frozen tower they learn features, which the
    students then train on.

    Raises:
        ConfigError: a last start epoch has no target in the trajectories.
    """
    pairs = context.config.distill.num_pairs
    latest = whole_range(context, pairs).range_end
    last_starts = settings.last_starts or tuple(range(latest + 1))
    beyond = [epoch for epoch in last_starts if epoch > latest]
    if beyond:
        raise ConfigError(
            f"last_starts has {beyond}, but teachers of {context.config.teacher.epochs} epochs have targets for starts "
            f"up to {latest}; lower them or train longer"
        )
    teachers = _teacher_recalls(context, experts, work / "teachers.json")
    (captions,) = draw_pairs(
        context.splits.train, [pairs], make_generator(context.config.distillation_seed, "initial pairs")
    )
    count = settings.students or context.config.evaluate.num_students
    students = {}
    for last in last_starts:
        phase = PhaseConfig(
            pairs, settings.steps, range_start=0, range_end=last, endpoint=context.config.teacher.epochs
        )
        objective = matching_problem(context, experts, captions, phase, shortcut=False, seed=analysis_seed(context))
        learned = _distilled(context, objective, work / f"until_{last:03d}")
        students[last] = _students(context, objective, learned, count, work / f"until_{last:03d}.students.json")
    return TeachersAndStudents(teachers, students)


def _teacher_recalls(context: RunContext, experts: list[Path], known: Path) -> list[list[float]]:
    """Return each expert's mean recall after every epoch; goes on from the file `known`."""
    model, epochs = context.factory.build(), context.config.teacher.epochs + 1
    recalls: list[list[float]] = read_list(known) if known.is_file() else []
    with context.counting("Teachers", len(experts) * epochs, len(recalls) * epochs) as tally:
        for expert in range(len(recalls), len(experts)):
            trajectory, found = Trajectory.open(experts[expert]), []
            for epoch in range(epochs):
                now = {name: value.to(context.device) for name, value in trajectory.snapshot(epoch).items()}
                found.append(recalls_on(model, now, context.splits.val).mean)
                tally.advance(status=f"validation recall {found[-1]:.1f}")
            recalls.append(found)
            write_json(known, recalls)
    return recalls


def _distilled(context: RunContext, objective: TrajectoryObjective, stem: Path) -> Learned:
    """Return what a distillation learns; goes on from its checkpoint, and returns at once what is done."""
    result, checkpoint = stem.with_name(f"{stem.name}.safetensors"), stem.with_name(f"{stem.name}.checkpoint")
    if not result.is_file():
        name, steps = f"Distilling, starts 0 to {objective.phase.range_end}", objective.phase.outer_steps
        with context.counting(name, steps) as tally:

            def hear(event: Event) -> None:
                """Count steps; they are none of the run's own, and nothing for its log."""
                if isinstance(event, OuterStep):
                    tally.reach(event.step, f"loss {sum(event.losses.values()):.3f}")

            problem = PhaseProblem(
                objective.number, objective, LoopSettings.of(objective.config, steps), context.device
            )
            save_tensors(result, distill_phase(problem, checkpoint, hear))
        discard_checkpoints(checkpoint)
    return {name: value.to(context.device) for name, value in load_tensors(result).items()}


def _students(
    context: RunContext, objective: TrajectoryObjective, learned: Learned, count: int, known: Path
) -> list[StudentRecall]:
    """Return the recalls of students on learned pairs; goes on from the file `known`."""
    keys = (field.name for field in fields(StudentRecall))
    found = [StudentRecall(**recall) for recall in read_list(known, *keys)][:count] if known.is_file() else []
    pairs = objective.pairs.render(learned)
    rates = float(pairs.rates.image), float(pairs.rates.text)
    phase = StudentPhase(learned[IMAGES], pairs.data.texts, pairs.data.similarity, *rates)
    with context.counting(f"Students, starts 0 to {objective.phase.range_end}", count, len(found)) as tally:
        for student in range(len(found), count):
            found.append(_student(context, phase, student))
            write_json(known, [asdict(recall) for recall in found])
            tally.advance(status=f"validation recall {found[-1].best:.1f}")
    return found


def _student(context: RunContext, phase: StudentPhase, student: int) -> StudentRecall:
    evaluator, model = context.evaluator, context.factory.build()
    seed = (context.config.seed, "analysis student", student)
    loss = context.config.distill.loss
    epochs = train_student(
        context.factory, model, [phase], loss, evaluator.student, *seed, batch_size=evaluator.batch_size
    )
    recalls = [recalls_on(model, now, context.splits.val).mean for _, now in epochs]
    return StudentRecall(max(recalls), recalls[-1])


def recall_rows(measured: TeachersAndStudents) -> Iterator[dict[str, Cell]]:
    """Yield the data of the figure: teachers by epoch, then students by the last start epoch of their pairs."""
    for epoch, recalls in enumerate(zip(*measured.teachers, strict=True)):
        yield _row("teacher", epoch, recalls)
    for last, students in measured.students.items():
        yield _row("student, best epoch", last, [student.best for student in students])
    for last, students in measured.students.items():
        yield _row("student, last epoch", last, [student.last for student in students])


def _row(who: str, epoch: int, recalls: Sequence[float]) -> dict[str, Cell]:
    return {
        "who": who,
        "epoch": epoch,
        "validation_mean_recall": mean(recalls),
        "deviation": pstdev(recalls),
        "runs": len(recalls),
    }


def summarise_recalls(measured: TeachersAndStudents) -> dict[str, Any]:
    """Return the numbers that the figure comes down to."""
    teachers = [mean(recalls) for recalls in zip(*measured.teachers, strict=True)]
    students = {last: mean(one.best for one in recalls) for last, recalls in measured.students.items()}
    best = max(students, key=lambda last: students[last])
    return {
        "split": "validation",
        "best_teacher_epoch": teachers.index(max(teachers)),
        "best_teacher": max(teachers),
        "last_teacher": teachers[-1],
        "best_last_start": best,
        "best_student": students[best],
        "student_of_the_latest_start": students[max(students)],
    }
