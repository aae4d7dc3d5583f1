"""How often a run does each thing."""

import math
from dataclasses import dataclass

from pairstill.config import RunConfig, StudentConfig


@dataclass(frozen=True)
class Counts:
    """How often a fresh run does each thing; a pure function of the settings and the sizes.

    Attributes:
        teacher_batches: mini-batches of an epoch of a teacher.
        teacher_epochs: epochs over all teachers.
        full_epochs: epochs of one model on all pairs.
        trials: students that choose the rates of a row, which has no learned ones or scales them.
        validations: of each phase while it is distilled.
        recalls_per_phase: epochs of a student's phase that are validated.
    """

    teacher_batches: int
    teacher_epochs: int
    full_epochs: int
    trials: int
    validations: tuple[int, ...]
    recalls_per_phase: int


def count(config: RunConfig, images: int, captions: int) -> Counts:
    """Return the counts of a run on a training split with so many images and captions."""
    teacher, distill, references = config.teacher, config.matching, config.evaluate.references
    items = captions if teacher.captions == "all" else images
    batches = items // teacher.batch_size + (items % teacher.batch_size >= 2)
    every = distill.validate_every
    return Counts(
        teacher_batches=batches,
        teacher_epochs=teacher.num_experts * teacher.epochs,
        full_epochs=references.full_epochs or teacher.epochs,
        trials=config.evaluate.rate_trials(),
        validations=tuple(math.ceil(phase.outer_steps / every) if every else 0 for phase in distill.phases),
        recalls_per_phase=validated_epochs(config.student),
    )


def validated_epochs(student: StudentConfig) -> int:
    """Return how many epochs of a student's phase are validated."""
    return student.epochs // student.validate_every + (student.epochs % student.validate_every > 0)
