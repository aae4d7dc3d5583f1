from dataclasses import replace

import pytest

from pairstill.config import (
    EvaluateConfig,
    PhaseConfig,
    ReferencesConfig,
    RunConfig,
    TeacherConfig,
    TowerConfig,
    TrajectoryConfig,
)
from pairstill.events import (
    InversionStep,
    OuterStep,
    PairDropped,
    PhasesKnown,
    RatesTried,
    StageBegan,
    StagesPlanned,
    StudentMeasured,
    TeacherEpoch,
    TeachingBegan,
    Validated,
)
from pairstill.run.eta import ETA

CONFIG = RunConfig(
    teacher=TeacherConfig(num_experts=2, epochs=8),
    distill=TrajectoryConfig(phases=(PhaseConfig(outer_steps=10), PhaseConfig(outer_steps=5))),
    evaluate=EvaluateConfig(
        num_students=3, rate_scales=(0.1, 1.0), scale_learned=False, references=ReferencesConfig(full_epochs=4)
    ),
)
FROZEN = replace(CONFIG, image=replace(CONFIG.image, trainable=False), heads=replace(CONFIG.heads, image=True, width=8))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def eta():
    clock = Clock()
    made = ETA(CONFIG, clock=clock)
    made.hear(StagesPlanned(stages=("prepare", "teach", "distill", "evaluate")))

    def hear(seconds, event):
        clock.now += seconds
        made.hear(event)

    return made, hear


def step(phase, number, steps, stage="pixels"):
    return OuterStep(phase=phase, stage=stage, step=number, steps=steps, losses={}, notes={}, rates={})


def student(method, protocol="strict"):
    return StudentMeasured(student=0, method=method, protocol=protocol, measured_as="0", mean_recall=30.0)


EPOCH = TeacherEpoch(expert=0, epoch=1, loss=1.0, validation_mean_recall=30.0)


def test_a_stage_whose_units_are_not_timed_yet_is_named(eta):
    made, hear = eta
    made.hear(StageBegan(stage="teach"))
    assert made.heading() == "Stage 2 of 4: teach"
    hear(2.0, EPOCH)
    # 15 epochs of teachers; those of the students on all pairs belong to a stage that is not counted
    assert made.seconds_left() == (2.0 * 15, ["distill", "evaluate"])
    assert made.heading() == "Stage 2 of 4: teach, about 0:00:30 left, distill and evaluate not counted"


def test_a_student_that_two_protocols_report_counts_once():
    clock = Clock()
    made = ETA(replace(CONFIG, evaluate=replace(CONFIG.evaluate, protocol="both", methods=("distilled",))), clock=clock)
    made.hear(StageBegan(stage="evaluate"))
    clock.now = 100.0
    for protocol in ("strict", "paper"):
        made.hear(student("ptm_st", protocol))
    made.hear(student("apm_closed_form"))
    assert made.seconds_left() == (200.0, [])


def test_what_is_not_known_of_the_stage_itself_makes_it_a_lower_bound(eta):
    made, hear = eta
    made.hear(StageBegan(stage="evaluate"))
    hear(8.0, student("full"))
    # of 3 models on all pairs and 3 that choose their rates, 4 epochs each, one is done; how long a student of few
    # pairs takes is not known
    assert made.heading() == "Stage 4 of 4: evaluate, at least 0:00:40 left in all"


def test_steps_share_the_time_of_validations_which_tell_how_long_a_student_takes(eta):
    made, hear = eta
    made.hear(StageBegan(stage="distill"))
    hear(1.0, step(1, 1, 10))
    hear(6.0, Validated(phase=1, step=1, validation_mean_recall=31.26))
    hear(1.0, step(1, 2, 10))
    known, unknown = made.seconds_left()
    # 13 steps at (1 + 7) / 2 s; how long models of all pairs take is not known
    assert known == 13 * 4.0 and unknown == ["evaluate"]
    assert made.heading().startswith("Stage 3 of 4: distill, validation recall 31.3, about 0:00:52 left")
    hear(2.0, EPOCH)
    # nor was it counted before; 3 students of the pairs, 3 of random ones and 3 that choose the rates of these at 6 s,
    # as many models by 4 epochs on all at 2 s
    assert made.seconds_left() == (13 * 4.0 + (3 + 6) * 6.0 + 24 * 2.0, [])


def test_later_phases_and_features_count(eta):
    made, hear = eta
    made.hear(StageBegan(stage="distill"))
    hear(1.0, step(2, 4, 5))
    assert made.left["distill"] == {"features": 0, "inversion": 0, "pixels": 1}
    warm = replace(CONFIG.distill, features_first=replace(CONFIG.distill.features_first, steps=7))
    frozen = replace(FROZEN, distill=warm)
    pairs, steps = sum(phase.num_pairs for phase in warm.phases), warm.features_first.inversion_steps
    assert ETA(frozen).left["distill"] == {"features": 2 * 7, "inversion": pairs * steps, "pixels": 10 + 5}


def test_pixels_that_are_found_take_their_own_time():
    clock, phases = Clock(), (PhaseConfig(num_pairs=4, outer_steps=1), PhaseConfig(num_pairs=6, outer_steps=1))
    first = replace(CONFIG.distill.features_first, steps=1, inversion_steps=5)
    made = ETA(replace(FROZEN, distill=replace(CONFIG.distill, phases=phases, features_first=first)), clock=clock)
    made.hear(StageBegan(stage="distill"))
    clock.now = 1.0
    made.hear(step(1, 1, 1, "features"))
    assert made.seconds_left() == (1.0, ["distill"])
    clock.now = 3.0
    made.hear(InversionStep(phase=1, step=2, steps=10, error=0.5))  # two chunks of two images, five steps each
    # two more seconds for 4 of 20 steps of one image; 16 are left in this phase, 30 in the next
    assert made.left["distill"] == {"features": 1, "inversion": 16 + 30, "pixels": 2}
    assert made.seconds_left()[0] == 1.0 + (16 + 30) * 2.0 * 10 / 20


def test_at_the_end_nothing_is_left(eta):
    made, hear = eta
    made.hear(StageBegan(stage="evaluate"))
    for method in ("random", "ptm_st", "full"):
        for _ in range(3 if method != "ptm_st" else 0):
            hear(8.0, RatesTried(method=method, image=0.1, text=1.0, validation_mean_recall=None))
        for _ in range(3):
            hear(8.0, student(method))
    assert made.seconds_left() == (0.0, [])
    assert made.heading() == "Stage 4 of 4: evaluate"


def test_students_of_learned_rates_choose_only_if_they_are_to_be_scaled():
    scaled = replace(
        CONFIG, evaluate=replace(CONFIG.evaluate, scale_learned=True, methods=("distilled", "closed_form"))
    )
    assert ETA(scaled).left["evaluate"] == {"student": 3 + 3, "epoch": 0}
    as_learned = replace(scaled, evaluate=replace(scaled.evaluate, scale_learned=False))
    assert ETA(as_learned).left["evaluate"] == {"student": 3, "epoch": 0}
    assert ETA(replace(as_learned, method="herding")).left["evaluate"] == {"student": 3 + 3, "epoch": 0}


def test_students_behind_every_tower_count():
    towers = replace(FROZEN, towers=(TowerConfig(name="resnet18"),))
    assert ETA(towers).left["evaluate"] == {unit: 2 * left for unit, left in ETA(FROZEN).left["evaluate"].items()}


def test_a_stage_alone_has_no_others(eta):
    clock = Clock()
    alone = ETA(CONFIG, clock=clock)
    assert alone.heading() == ""
    alone.hear(StageBegan(stage="teach"))
    clock.now = 1.0
    alone.hear(EPOCH)
    assert alone.heading() == "Stage: teach, about 0:00:15 left"


def test_events_that_are_no_work_change_nothing(eta):
    made, hear = eta
    made.hear(StageBegan(stage="teach"))
    hear(5.0, PairDropped(problem="no image"))
    assert made.seconds_left() == (0.0, ["teach", "distill", "evaluate"])


def test_phases_that_set_themselves_are_counted_when_they_have(eta):
    made, hear = eta
    made.hear(PhasesKnown(phases=(PhaseConfig(outer_steps=4),) * 3))
    assert made.left["distill"] == {"features": 0, "inversion": 0, "pixels": 12}
    hear(1, step(3, 1, 4))
    assert made.left["distill"]["pixels"] == 3


def test_teachers_that_are_there_need_not_be_trained(eta):
    made, hear = eta
    made.hear(StageBegan(stage="teach"))
    hear(0.0, TeachingBegan(epochs=16, done=12))
    hear(2.0, EPOCH)
    assert made.seconds_left()[0] == 2.0 * 3
    assert ETA(CONFIG, teachers=1).left["teach"] == {"epoch": 8}
