from pairstill.tools.plan.fit import PlannedMode
from pairstill.tools.plan.planner import Plan
from pairstill.tools.plan.stages import PlannedStage
from pairstill.tools.plan.table import disk_line, memory_cells, stage_cells

MODES = (PlannedMode("exact_store", 3_000, False), PlannedMode("exact_recompute", 1_000, True))
STAGES = (PlannedStage("teach", 30.0, "3 epochs"), PlannedStage("distill", 600.0, ""))
PLAN = Plan(
    stages=STAGES,
    seconds_per_step=(2.0,),
    expert_bytes=10,
    trajectory_bytes=1_000,
    cache_bytes=2_000,
    disk_bytes=5_000,
    free_disk_bytes=9_000,
    modes=MODES,
    chosen_mode="exact_recompute",
    memory_bytes=2_000,
    warnings=(),
)


def test_stages_end_in_their_sum():
    assert stage_cells(PLAN)[0] == ["teach", "30.0 s", "3 epochs"]
    assert stage_cells(PLAN)[-1] == ["all", "10 min 30 s", ""]
    assert PLAN.to_json()["seconds"] == 630


def test_modes_say_which_is_chosen_and_which_does_not_fit():
    assert memory_cells(PLAN) == [
        ["exact_store", "3.0 kB", "does not fit"],
        ["exact_recompute", "1.0 kB", "chosen"],
    ]


def test_the_disk_in_one_line():
    assert disk_line(PLAN).startswith(
        "Disk: 5.0 kB of 9.0 kB free; of these, 1.0 kB are trajectories (10 B per expert), 2.0 kB encoded "
        "images and captions"
    )
