"""What a run will take, as tables."""

from pairstill.core.formatting import duration, human_bytes
from pairstill.tools.plan.planner import Plan


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
        f"{human_bytes(plan.trajectory_bytes)} are trajectories ({human_bytes(plan.expert_bytes)} per expert), "
        f"{human_bytes(plan.cache_bytes)} encoded images and captions"
    )
