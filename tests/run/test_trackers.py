import sys
from dataclasses import replace
from types import ModuleType

import pytest

from pairstill.core.errors import MissingDependencyError
from pairstill.events import Notice, OuterStep, PairDropped, StageEnded, StudentMeasured, TeacherEpoch, Validated
from pairstill.run.trackers import Points, Tracker, points_of

STEP = OuterStep(
    phase=2,
    stage="pixels",
    step=7,
    steps=9,
    losses={"image": 0.5, "text": 0.25},
    notes={"experts": [0], "start_epochs": [1.0]},
    rates={"inner_lr_image": 0.1, "inner_lr_text": 0.2},
)
TAUGHT = StageEnded(stage="teach", seconds=3.0, peak_memory_bytes=1)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            STEP,
            Points(
                "distill/phase_2/pixels",
                7,
                {"loss_image": 0.5, "loss_text": 0.25, "inner_lr_image": 0.1, "inner_lr_text": 0.2},
            ),
        ),
        (
            TeacherEpoch(expert=3, epoch=1, loss=2.0, validation_mean_recall=30.0),
            Points("teach/expert_3", 1, {"loss": 2.0, "validation_mean_recall": 30.0}),
        ),
        (
            StudentMeasured(method="random", protocol="strict", student=1, measured_as="0", mean_recall=29.0),
            Points("evaluate/strict/random", 1, {"mean_recall": 29.0}),
        ),
        (
            TeacherEpoch(expert=3, epoch=1, loss=2.0, validation_mean_recall=30.0, tower="b (2)"),
            Points("teach/b (2)/expert_3", 1, {"loss": 2.0, "validation_mean_recall": 30.0}),
        ),
        (
            StudentMeasured(
                method="random", protocol="strict", student=1, measured_as="0", mean_recall=29.0, tower="b (2)"
            ),
            Points("evaluate/b (2)/strict/random", 1, {"mean_recall": 29.0}),
        ),
        (TAUGHT, Points("stages/teach", None, {"seconds": 3.0})),
        (PairDropped(problem="no image"), None),
    ],
)
def test_events_become_points(event, expected):
    assert points_of(event) == expected


class FakeRun:
    """What wandb's and trackio's runs have in common, and the calls that reached it."""

    def __init__(self):
        self.calls = []
        self.works = True

    def define_metric(self, name, **options):
        self.calls.append(("define", name, options))

    def log(self, values, step=None):
        if not self.works:
            raise ConnectionError("no route")
        self.calls.append((values, step))


@pytest.fixture
def fake(monkeypatch):
    """Put a tracker's package in place that keeps what it is given."""

    def make(name, *, opens=True):
        module, run = ModuleType(name), FakeRun()
        module.__spec__ = ModuleType("spec")
        run.opened = []

        def init(**options):
            print("welcome")
            if not opens:
                refuse("not logged in")
            run.opened.append(options)
            return run

        module.init = init
        monkeypatch.setitem(sys.modules, name, module)
        return run

    return make


def refuse(said):
    raise AssertionError(said)


def test_wandb_gets_every_curve_over_its_own_steps(fake, tmp_path, capsys):
    run = fake("wandb")
    tracker = Tracker("wandb", tmp_path, {"seed": 3}, refuse)
    for step in (1, 2):
        tracker.hear(Validated(phase=1, step=step, validation_mean_recall=30.0 + step))
    tracker.hear(PairDropped(problem="no image"))
    group = "distill/phase_1"
    assert run.calls == [
        ("define", f"{group}/step", {"hidden": True}),
        ("define", f"{group}/validation_mean_recall", {"step_metric": f"{group}/step"}),
        ({f"{group}/validation_mean_recall": 31.0, f"{group}/step": 1}, None),
        ({f"{group}/validation_mean_recall": 32.0, f"{group}/step": 2}, None),
    ]
    assert run.opened[0]["config"] == {"seed": 3} and run.opened[0]["name"] == tmp_path.name
    assert capsys.readouterr().out == "", "what a tracker says is not the command's output"


@pytest.mark.parametrize(("name", "key"), [("wandb", "id"), ("trackio", "name")])
def test_a_run_that_goes_on_goes_on_in_the_tracker(fake, tmp_path, name, key):
    run = fake(name)
    for folder in ("a", "a", "b"):
        Tracker(name, tmp_path / folder, {}, refuse)
    first, again, other = (options[key] for options in run.opened)
    assert first == again != other
    assert {options["resume"] for options in run.opened} == {"allow"}


def test_trackio_gets_points_with_their_step(fake, tmp_path):
    run = fake("trackio")
    Tracker("trackio", tmp_path, {}, refuse).hear(TAUGHT)
    validated = Validated(phase=1, step=5, validation_mean_recall=1.0)
    Tracker("trackio", tmp_path, {}, refuse).hear(validated)
    assert run.calls == [({"stages/teach/seconds": 3.0}, None), ({"distill/phase_1/validation_mean_recall": 1.0}, 5)]


def test_tensorboard_finds_the_numbers_in_the_run_folder(tmp_path):
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = Tracker("tensorboard", tmp_path, {}, refuse)
    tracker.hear(STEP)
    tracker.hear(replace(STEP, step=8, rates={"inner_lr_text": 0.25}))
    stored = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = [(point.step, round(point.value, 6)) for point in stored.Scalars("distill/phase_2/pixels/inner_lr_text")]
    assert found == [(7, 0.2), (8, 0.25)]


def test_a_tracker_that_fails_is_told_of_once_and_left_out(fake, tmp_path):
    run, told = fake("trackio"), []
    tracker = Tracker("trackio", tmp_path, {}, told.append)
    run.works = False
    for _ in range(3):
        tracker.hear(TAUGHT)
    said = "trackio failed (ConnectionError: no route); the run goes on without it, metrics.jsonl has everything"
    assert told == [Notice(text=said)]


def test_a_tracker_that_cannot_be_opened_is_told_of_once(fake, tmp_path):
    fake("wandb", opens=False)
    told = []
    tracker = Tracker("wandb", tmp_path, {}, told.append)
    tracker.hear(TAUGHT)
    assert len(told) == 1 and "wandb failed (AssertionError: not logged in)" in told[0].text


def test_a_package_that_is_missing_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)  # as where it is not installed
    with pytest.raises(
        MissingDependencyError, match=r'tracker trackio needs .*; run `pip install "pairstill\[trackio\]"`'
    ):
        Tracker("trackio", tmp_path, {}, refuse)
