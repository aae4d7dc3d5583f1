"""What a run will take, as tables."""

from dataclasses import asdict, dataclass
from typing import Any

from pairstill.core.formatting import duration, human_bytes


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
class PlannedMode:
    """One mode of the hypergradient.

    Attributes:
        mode: the mode.
        peak_bytes: predicted peak memory of the run.
        fits: whether the device has that much.
    """

    mode: str
    peak_bytes: int
    fits: bool


@dataclass(frozen=True)
class Plan:
    """What a run will take on this machine, with the teachers that are there already.

    Attributes:
        stages: predicted seconds, in the order of the run.
        seconds_per_step: seconds of an outer step of each phase.
        expert_bytes: one expert's file.
        trajectory_bytes: all experts that are not there yet, and what they share.
        disk_bytes: all that the run writes: trajectories, checkpoints, distilled set, and the cache's rows.
        free_disk_bytes: free where the run's folder lies.
        modes: predicted memory by mode.
        chosen_mode: the mode that the settings lead to.
        memory_bytes: the device's memory.
        warnings: what will not fit, and the settings that would make it fit.
    """

    stages: tuple[PlannedStage, ...]
    seconds_per_step: tuple[float, ...]
    expert_bytes: int
    trajectory_bytes: int
    disk_bytes: int
    free_disk_bytes: int
    modes: tuple[PlannedMode, ...]
    chosen_mode: str
    memory_bytes: int
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {**asdict(self), "seconds": sum(stage.seconds for stage in self.stages)}


def stage_cells(plan: Plan) -> list[list[str]]:
    """Return stage, time and detail of each stage, and the sum."""
    cells = [[stage.name, duration(stage.seconds), stage.detail] for stage in plan.stages]
    return [*cells, ["all", duration(sum(stage.seconds for stage in plan.stages)), ""]]


def memory_cells(plan: Plan) -> list[list[str]]:
    """Return mode, peak memory and remark of each mode."""
    cells = []
    for mode in plan.modes:
        remarks = ["chosen"] * (mode.mode == plan.chosen_mode) + ["does not fit"] * (not mode.fits)
        cells.append([mode.mode, human_bytes(mode.peak_bytes), ", ".join(remarks)])
    return cells


def disk_line(plan: Plan) -> str:
    """Return the disk in one line."""
    return (
        f"Disk: {human_bytes(plan.disk_bytes)} of {human_bytes(plan.free_disk_bytes)} free; of these, "
        f"{human_bytes(plan.trajectory_bytes)} are trajectories ({human_bytes(plan.expert_bytes)} per expert)"
    )
