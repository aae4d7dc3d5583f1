"""What students take."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from pairstill.distilled import DistilledSet
from pairstill.evaluate.student import StudentPhase, student_phases, train_student
from pairstill.model.functional import LossName
from pairstill.run.context import RunContext
from pairstill.tools.plan.probe import seconds_of

PROBE_EPOCHS = 3


@dataclass(frozen=True)
class StudentSpeeds:
    """Seconds of the tower's pass over all pairs, and of a student's epoch on each phase and on random pairs."""

    tower: float
    epochs: tuple[float, ...]
    random_epoch: float

    @staticmethod
    def total(towers: "Sequence[StudentSpeeds]") -> "StudentSpeeds":
        """Return the sum over image towers, of a student behind each."""
        epochs = tuple(map(sum, zip(*(one.epochs for one in towers), strict=True)))
        return StudentSpeeds(sum(one.tower for one in towers), epochs, sum(one.random_epoch for one in towers))


def student_speeds(probe: RunContext, distilled: DistilledSet) -> StudentSpeeds:
    """Train students for a few epochs on each phase and on random pairs."""
    found: list[list[StudentPhase]] = []
    tower = seconds_of(
        lambda: found.append(student_phases(distilled.phases, distilled.loss, probe.tower, probe.device)), probe.device
    )
    epochs = tuple(_epoch_seconds(probe, phase, distilled.loss, probe.evaluator.batch_size) for phase in found[0])
    return StudentSpeeds(tower, epochs, _random_epoch_seconds(probe))


def _random_epoch_seconds(probe: RunContext) -> float:
    """Return the seconds of a student's epoch on random pairs."""
    config, train = probe.config, probe.splits.train
    pairs = min(config.evaluate.references.random_pairs or config.distill.num_pairs, train.num_images)
    rows = torch.arange(pairs)
    rates = config.teacher.lr_image, config.teacher.lr_text
    phase = StudentPhase(train.image_inputs(rows), train.texts(rows), None, *rates)
    return _epoch_seconds(probe, phase, "infonce", config.teacher.batch_size)


def _epoch_seconds(probe: RunContext, phase: StudentPhase, loss: LossName, batch_size: int) -> float:
    # tiny rates: the made-up pairs must not make the student diverge
    calm = replace(phase, lr_image=1e-6, lr_text=1e-6)
    model = probe.factory.build()

    def train(epochs: int) -> None:
        student = replace(probe.config.student, epochs=epochs, validate_every=epochs)
        list(train_student(probe.factory, model, [calm], loss, student, "plan", batch_size=batch_size))

    train(1)
    return seconds_of(lambda: train(PROBE_EPOCHS), probe.device) / PROBE_EPOCHS
