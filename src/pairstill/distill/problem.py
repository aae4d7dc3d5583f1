"""What the outer loop of a phase works on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from pairstill.config import DistillConfig, PhaseConfig
from pairstill.distill.direct import DirectObjective
from pairstill.distill.features_first import FeatureRange
from pairstill.model.dual_encoder import DualEncoder, ModelFactory
from pairstill.ranks import Ranks
from pairstill.trajectories.shortcut import Path as TeacherPath

Learned = dict[str, Tensor]
"""Everything that a phase learns, by name: `images`, `texts`, `similarity/...`, `inner_lr_image`, `inner_lr_text`."""


SIMILARITY = "similarity/"


class TeacherPaths(Protocol):
    """The paths that a phase may match, one for each expert."""

    def __len__(self) -> int:
        """Return the number of experts."""
        ...

    def __getitem__(self, expert: int) -> TeacherPath:
        """Return the path of an expert, read when it is asked for."""
        ...

    def prefetch(self, experts: Sequence[int]) -> None:
        """Begin to read the paths of experts that will be asked for next."""
        ...


@dataclass(frozen=True)
class PhaseProblem:
    """What the outer loop of a phase works on.

    Attributes:
        number: the phase's number, from 1.
        phase: its settings.
        config: the distillation's settings.
        seed: seed of the distillation.
        factory: draws the dropout masks, and says which device to use.
        model: the structure of the student.
        tower: the frozen image tower, or None when the tower is part of the student.
        paths: the teachers' paths.
        initial: what is learned, at its start.
        constant_factors: factors of the similarity that are not learned.
        ranks: the processes that share the stretches of a step; all hold the same state.
        objective: compares pairs directly, in place of trajectories; None matches trajectories.
        feature_range: what `images`, when they are features, are kept in after every step; None leaves them free.
    """

    number: int
    phase: PhaseConfig
    config: DistillConfig
    seed: int
    factory: ModelFactory
    model: DualEncoder
    tower: nn.Module | None
    paths: TeacherPaths
    initial: Learned
    constant_factors: dict[str, Tensor]
    ranks: Ranks = Ranks()
    objective: DirectObjective | None = None
    feature_range: FeatureRange | None = None
