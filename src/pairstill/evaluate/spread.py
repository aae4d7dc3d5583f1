"""The spread of a method's results over what is random in it: teachers, distillations, students."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class Repeat:
    """One student's result, and what it was trained on.

    Attributes:
        teachers: seed of the teachers, or None where there are none.
        distillation: seed of the distillation, or None where nothing is distilled.
        value: the result.
    """

    teachers: int | None
    distillation: int | None
    value: float


@dataclass(frozen=True)
class Spread:
    """Standard deviations over each source of chance, None where it was not varied.

    Each is taken over means of the level below it, so it also holds what is left of that level's spread in a mean.

    Attributes:
        students: over the students of a distilled set.
        distillations: over the means of distilled sets with the same teachers.
        teachers: over the means of teachers.
    """

    students: float | None
    distillations: float | None
    teachers: float | None


def spread(repeats: Iterable[Repeat]) -> Spread:
    """Return the spread at every level of at least one result; variances of a level's groups are pooled.

    Example:
        >>> sets = {(0, 0): (1.0, 3.0), (0, 1): (5.0, 7.0), (1, 0): (0.0, 2.0), (1, 1): (2.0, 4.0)}
        >>> found = spread(Repeat(t, d, v) for (t, d), values in sets.items() for v in values)
        >>> [round(s**2, 1) for s in (found.students, found.distillations, found.teachers)]  # means 2, 6, 1, 3; 4, 2
        [2.0, 5.0, 2.0]
    """
    students: dict[int | None, dict[int | None, list[float]]] = {}
    for repeat in repeats:
        students.setdefault(repeat.teachers, {}).setdefault(repeat.distillation, []).append(repeat.value)
    sets = [[fmean(values) for values in by_distillation.values()] for by_distillation in students.values()]
    return Spread(
        students=_pooled(values for by_distillation in students.values() for values in by_distillation.values()),
        distillations=_pooled(sets),
        teachers=_pooled([[fmean(means) for means in sets]]),
    )


def _pooled(groups: Iterable[list[float]]) -> float | None:
    """Return the standard deviation within groups, or None if none has two members."""
    squares, freedom = 0.0, 0
    for values in groups:
        mean = fmean(values)
        squares += sum((value - mean) ** 2 for value in values)
        freedom += len(values) - 1
    return (squares / freedom) ** 0.5 if freedom > 0 else None
