"""What the rates of students are multiplied with: one choice for each set, on the validation split alone."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, TypeVar

from pairstill.core.errors import NumericalError
from pairstill.model.dual_encoder import Parameters, Side

BOTH: tuple[Side, ...] = ("image", "text")
"""The sides in the order in which their scales are chosen."""
CHOOSING = "rates"
"""Stands for the number of the student that chooses, which is none of those that are measured."""


@dataclass(frozen=True)
class Factors:
    """What some rates are multiplied with, a field each."""

    @property
    def distance(self) -> float:
        """How far the rates are from what they are multiplied from, whether up or down."""
        return sum(abs(math.log(factor)) for factor in vars(self).values())


@dataclass(frozen=True)
class Scales(Factors):
    """What the rates of each side are multiplied with."""

    image: float = 1.0
    text: float = 1.0


F = TypeVar("F", bound=Factors)


@dataclass(frozen=True)
class Trial(Generic[F]):
    """A student that was trained in order to choose.

    Attributes:
        scales: of its rates, or of those by which its pairs were made.
        recall: mean recall of its best epoch on the validation split, in percent; None where it diverged.
    """

    scales: F
    recall: float | None

    @property
    def _worth(self) -> tuple[float, float]:
        return (-1.0 if self.recall is None else self.recall), -self.scales.distance


@dataclass(frozen=True)
class Chosen(Generic[F]):
    """Scales of rates, and how they were chosen.

    Attributes:
        scales: the scales.
        trials: the students that chose, in order; none where the rates are taken as they are.
    """

    scales: F
    trials: tuple[Trial[F], ...] = ()

    @property
    def rates_tried(self) -> int:
        """How many rates the choice was between."""
        return max(1, len(self.trials))

    def to_json(self) -> dict[str, Any]:
        """Return the choice as results state it."""
        trials = [{**asdict(t.scales), "validation_mean_recall": t.recall} for t in self.trials]
        return {**asdict(self.scales), "trials": trials}


RateChoice = Chosen[Scales]
"""The scales that all students of a set train at."""
AS_THEY_ARE = RateChoice(Scales())
"""No choice: rates are what they were learned or set to."""


@dataclass(frozen=True)
class Course:
    """What students are trained on, and how, but for the scales of their rates.

    Attributes:
        train: trains a student of this number at these scales as it is drawn from, and yields each epoch's number and
            live parameters.
        sides: the sides whose scales validation chooses.
        rates: of the image and the text side, which the scales multiply; None where each phase has its own.
    """

    train: Callable[[int | str, Scales], Iterable[tuple[int, Parameters]]]
    sides: tuple[Side, ...] = ()
    rates: tuple[float, float] | None = None

    def settings(self, choice: RateChoice) -> dict[str, float]:
        """Return what results say of the rates that a student was trained at."""
        if self.rates is None:
            return {f"scale_{side}": scale for side, scale in asdict(choice.scales).items() if choice.trials}
        return {"lr_image": self.rates[0] * choice.scales.image, "lr_text": self.rates[1] * choice.scales.text}


def choose_scales(
    recall: Callable[[F], float | None], as_they_are: F, sides: Sequence[str], grid: Sequence[float]
) -> Chosen[F]:
    """Choose the scales with the best recall, one side after the other; of equal ones those nearest to 1.

    First the first side, with the other's rates as they are, then the other, with the first's best: as many trials as
    both grids have scales, not as their product has. The rates as they are are always tried; without sides or other
    scales than 1 nothing is.

    Args:
        recall: trains a student at these scales and returns its mean recall on the validation split, or None where it
            diverges.
        as_they_are: scales of 1.
        sides: the fields that are chosen, in order.
        grid: the scales of a side.

    Raises:
        NumericalError: every student diverged.

    Example:
        >>> def recall(scales: Scales) -> float:
        ...     return 30 - abs(scales.image - 3) - scales.text
        >>> choose_scales(recall, Scales(), ["image", "text"], [0.3, 3]).scales
        Scales(image=3, text=0.3)
    """
    others = sorted({scale for scale in grid if scale != 1.0})
    if not sides or not others:
        return Chosen(as_they_are)
    best = Trial(as_they_are, recall(as_they_are))
    trials = [best]
    for side in sides:
        scales = [replace(best.scales, **{side: scale}) for scale in others]
        tried = [Trial(each, recall(each)) for each in scales]
        trials += tried
        best = max([best, *tried], key=lambda trial: trial._worth)
    if best.recall is None:
        raise NumericalError(
            f"students diverged at every one of {len(trials)} scales of rates ({', '.join(sides)}); give lower scales "
            f"than {list(grid)}"
        )
    return Chosen(best.scales, tuple(trials))


def trial_of(stored: Mapping[str, Any], kind: type[F]) -> Trial[F]:
    """Return a trial as `Chosen.to_json` states it, with scales of a kind.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    factors = {name: float(value) for name, value in stored.items() if name != "validation_mean_recall"}
    recall = stored["validation_mean_recall"]
    return Trial(kind(**factors), None if recall is None else float(recall))
