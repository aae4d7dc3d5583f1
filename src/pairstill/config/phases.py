"""Settings of the phases, given or set by themselves."""

from dataclasses import dataclass

from pairstill.config.changed import changed
from pairstill.config.checks import require, require_positive


@dataclass(frozen=True)
class PhaseConfig:
    """One phase: a subset of distilled pairs and the part of the teachers' trajectories that it learns.

    Attributes:
        num_pairs: distilled pairs in this phase (N_p).
        outer_steps: updates of the distilled pairs (I_p).
        range_start: first start epoch that may be drawn (T_p^-).
        range_end: last start epoch that may be drawn (T_p^+).
        endpoint: epoch of the snapshot that the shortcut ends at (t_p).
    """

    num_pairs: int = 99
    outer_steps: int = changed(240, before=120)
    range_start: int = 0
    range_end: int = 2
    endpoint: int = 6

    def __post_init__(self) -> None:
        require_positive("phase", num_pairs=self.num_pairs, outer_steps=self.outer_steps, endpoint=self.endpoint)
        require(
            0 <= self.range_start <= self.range_end,
            f"phase range is {self.range_start}..{self.range_end}; it needs 0 <= range_start <= range_end",
        )


@dataclass(frozen=True)
class AutoPhasesConfig:
    """Phases that set themselves, by what the teachers show on training and validation pairs (docs/auto_phases.md).

    Attributes:
        max_phases: at most so many phases.
        min_pairs: at least so many distilled pairs in a phase, unless there are fewer in all; the paper's smallest
            phase has 99.
        gain_left: a start counts while more than this share of the teachers' gain in validation recall lies ahead.
        min_agreement: least cosine between the gradients of two start epochs of a phase, from -1 to 1.
        teachers: teachers that are measured, the first ones.
        repeats: segments that are averaged for the gradient of a start epoch.
    """

    max_phases: int = 3
    min_pairs: int = 99
    gain_left: float = 0.05
    min_agreement: float = 0.0
    teachers: int = 4
    repeats: int = 8

    def __post_init__(self) -> None:
        require_positive(
            "distill.auto_phases",
            max_phases=self.max_phases,
            min_pairs=self.min_pairs,
            teachers=self.teachers,
            repeats=self.repeats,
        )
        require(
            0 <= self.gain_left < 1, f"distill.auto_phases.gain_left is {self.gain_left}; it is a share, from 0 below 1"
        )
        require(
            -1 <= self.min_agreement <= 1,
            f"distill.auto_phases.min_agreement is {self.min_agreement}; it is a cosine, from -1 to 1",
        )
