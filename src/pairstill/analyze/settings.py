"""Settings of the analyses; imports nothing heavy."""

from dataclasses import dataclass

from pairstill.config.bounds import check_bounds
from pairstill.core.errors import ConfigError


def _require_positive(**values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1")


@dataclass(frozen=True)
class GradientsAnalysis:
    """How gradients of the matching loss agree between start epochs, on original and on shortcut trajectories.

    Attributes:
        pairs: pairs of the synthetic set: the first of the training split, as in the paper's Appendix B.2.
        experts: teachers that are measured; null takes all.
    """

    pairs: int = 200
    experts: int | None = None

    def __post_init__(self) -> None:
        check_bounds(self)
        _require_positive(pairs=self.pairs, experts=self.experts)


@dataclass(frozen=True)
class TeachersAnalysis:
    """How well teachers do by epoch, and students of pairs distilled from no later start than that.

    Attributes:
        last_starts: last start epochs (T+), one distillation for each; null takes every epoch that has a target.
        steps: outer steps of each distillation.
        students: students of each distillation; null takes `evaluate.num_students`.
    """

    last_starts: tuple[int, ...] | None = None
    steps: int = 150
    students: int | None = None

    def __post_init__(self) -> None:
        check_bounds(self)
        _require_positive(steps=self.steps, students=self.students)
        if self.last_starts is not None and (not self.last_starts or min(self.last_starts) < 0):
            raise ConfigError(f"last_starts is {list(self.last_starts)}; name at least one epoch, from 0")


@dataclass(frozen=True)
class TrajectoriesAnalysis:
    """The shape of the teachers' trajectories: distances, lengths, turns and a view in three dimensions.

    Attributes:
        experts: teachers that are measured; null takes all.
    """

    experts: int | None = None

    def __post_init__(self) -> None:
        check_bounds(self)
        _require_positive(experts=self.experts)


@dataclass(frozen=True)
class PropositionAnalysis:
    """Proposition 1 in numbers: the gradient's difference by the distance of the starts, and the terms of the bound.

    Attributes:
        pairs: pairs of the synthetic set: the first of the training split.
        experts: teachers whose gradients are measured; null takes all. The bound's terms are the first one's.
        fractions: starts between two epochs of the paths that have points there.
        iterations: most steps of each power iteration.
    """

    pairs: int = 200
    experts: int | None = 2
    fractions: int = 4
    iterations: int = 60

    def __post_init__(self) -> None:
        check_bounds(self)
        _require_positive(pairs=self.pairs, experts=self.experts, fractions=self.fractions, iterations=self.iterations)


Analysis = GradientsAnalysis | TeachersAnalysis | TrajectoriesAnalysis | PropositionAnalysis

ANALYSES: dict[str, type[Analysis]] = {
    "gradients": GradientsAnalysis,
    "teachers": TeachersAnalysis,
    "trajectories": TrajectoriesAnalysis,
    "proposition": PropositionAnalysis,
}
