"""Students with other encoders than those that the pairs were distilled for (Table 17 of arXiv 2603.25388)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from pairstill.config import CrossConfig
from pairstill.distilled import DistilledSet
from pairstill.evaluate.protocol import Candidate, Evaluator, best_epochs, mean_recall_of
from pairstill.evaluate.student import StudentPhase, student_phases, train_student
from pairstill.model.dual_encoder import Side

Scales = dict[Side, float]


def best_crossed(
    evaluator: Evaluator, distilled: DistilledSet, student: int, foreign: Sequence[Side], batch_size: int
) -> Candidate:
    """Train a student at several rates and return the best on the validation split; the test split is not read.

    The rates that were learned belong to the encoders that they were learned with: see `best_scaled`. Without foreign
    sides the student is that of the ordinary evaluation.

    Args:
        evaluator: with the student's own encoders.
        distilled: the set, adapted to these encoders.
        student: its number, which is its seed.
        foreign: the sides whose rates are chosen.
        batch_size: pairs in a mini-batch.

    Returns:
        The candidate, with the seconds of all that were tried; its settings are the scales.
    """
    phases = student_phases(distilled.phases, distilled.loss, evaluator.tower, evaluator.factory.device)

    def train(scales: Scales) -> Candidate:
        model = evaluator.factory.build()
        seed = (evaluator.seed, "student", student)
        scaled = [_scaled(phase, scales) for phase in phases]
        epochs = train_student(
            evaluator.factory, model, scaled, distilled.loss, evaluator.student, *seed, batch_size=batch_size
        )
        settings = {f"scale_{side}": scales[side] for side in scales}
        return best_epochs(mean_recall_of(model), epochs, {"strict": evaluator.splits.val}, settings)["strict"]

    return best_scaled(train, foreign, evaluator.evaluate.cross.rate_scales)


def best_scaled(
    train: Callable[[Scales], Candidate], foreign: Sequence[Side], rate_scales: Sequence[float]
) -> Candidate:
    """Choose what the learned rates are multiplied with, one foreign side after the other.

    First the image side, with the text side's rates as they are, then the text side, with the image side's best. The
    learned rates themselves are always tried, and without foreign sides nothing else is.

    Args:
        train: trains a student at the learned rates times these scales.
        foreign: the sides whose rates are chosen.
        rate_scales: what each tries.

    Returns:
        The best candidate, with the seconds of all that were tried.
    """
    scales: Scales = {"image": 1.0, "text": 1.0}
    best = train(scales)
    seconds = best.seconds
    for side in foreign:
        chosen = scales[side]
        for scale in rate_scales:
            if scale == 1.0:
                continue  # tried before
            candidate = train({**scales, side: scale})
            seconds += candidate.seconds
            if candidate.recall > best.recall:
                best, chosen = candidate, scale
        scales = {**scales, side: chosen}
    return replace(best, seconds=seconds)


def rates_tried(cross: CrossConfig, foreign: Sequence[Side]) -> int:
    """Return how many rates `best_crossed` chooses between.

    Example:
        >>> rates_tried(CrossConfig(rate_scales=(0.1, 1.0, 3.0)), ["image", "text"])
        5
    """
    return 1 + len(foreign) * sum(scale != 1.0 for scale in cross.rate_scales)


def _scaled(phase: StudentPhase, scales: Scales) -> StudentPhase:
    return replace(phase, lr_image=phase.lr_image * scales["image"], lr_text=phase.lr_text * scales["text"])
