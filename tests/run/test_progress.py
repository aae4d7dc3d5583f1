"""What a person sees of a run's events, where there is no terminal."""

import io

import pytest
from rich.console import Console

from pairstill.config import (
    FeaturesFirstConfig,
    HeadsConfig,
    ImageConfig,
    PhaseConfig,
    RunConfig,
    TeacherConfig,
    TrajectoryConfig,
)
from pairstill.events import (
    CheckpointDamaged,
    Events,
    ImagesChecked,
    InversionStep,
    ModeChosen,
    Notice,
    OuterStep,
    PhasesKnown,
    RowsComputed,
    StageBegan,
    TeacherEpoch,
    TeachersFound,
    TeachingBegan,
    Validated,
)
from pairstill.run.eta import ETA
from pairstill.run.progress import Display, Tally

PHASES = (PhaseConfig(outer_steps=4), PhaseConfig(outer_steps=2))
CONFIG = RunConfig(
    image=ImageConfig(trainable=False),
    heads=HeadsConfig("linear", image=True, width=8),
    teacher=TeacherConfig(num_experts=2, epochs=8),
    distill=TrajectoryConfig(phases=PHASES, features_first=FeaturesFirstConfig(steps=5)),
)


@pytest.fixture
def shown():
    """Show events, with bars or without, and return the lines."""

    def show(*events, bars=True):
        console = Console(file=io.StringIO(), width=10_000, markup=False)
        display = Display(console, ETA(CONFIG, clock=lambda: 0.0), len(PHASES))
        stream = Events(display.hear)
        if bars:
            with display.bars(), display.bars():  # what opens them inside goes on with those that are open
                for event in events:
                    event(stream.emit) if callable(event) else stream.emit(event)
        else:
            for event in events:
                stream.emit(event)
        return [line.split(" in 0:00:0")[0] for line in console.file.getvalue().splitlines()]

    return show


def step(phase, number, steps, stage="pixels"):
    rates = {"inner_lr_image": 0.1, "inner_lr_text": 0.25}
    losses = {"image": 1.5, "text": 0.5}
    return OuterStep(phase=phase, stage=stage, step=number, steps=steps, losses=losses, notes={}, rates=rates)


def test_sentences_are_said_at_once_and_a_stage_that_is_the_same_is_named_once(shown):
    chosen = ModeChosen(mode="exact_store", stored_bytes=1000, limit_bytes=2000)
    said = shown(
        StageBegan(stage="teach"),
        StageBegan(stage="teach"),
        TeachersFound(folder="[there]", found=1, missing=2),
        chosen,
        chosen,
        ModeChosen(mode="exact_span", stored_bytes=None, limit_bytes=None),
        CheckpointDamaged(problem="it is cut"),
        Notice(text="few images"),
        step(1, 1, 4),
        bars=False,
    )
    assert said == [
        "Stage: teach",
        "Teachers found again: 1 of 3 in [there]",
        "Hypergradient: exact_store (storing all inner steps' graphs: about 1.0 kB; allowed: 2.0 kB)",
        "Hypergradient: exact_span",
        "it is cut",
        "few images",
    ]


def test_every_kind_of_work_has_its_bar(shown):
    epochs = [TeacherEpoch(expert=1, epoch=n, loss=2.0, validation_mean_recall=30.0) for n in (1, 2)]
    assert shown(
        ImagesChecked(done=0, total=None),
        ImagesChecked(done=9, total=9),
        RowsComputed(what="Encoding the train split: texts", done=5, total=5),
        TeachingBegan(epochs=4, done=2),
        *epochs,
        PhasesKnown(phases=PHASES[:1]),
        step(1, 3, 4),
        Validated(phase=1, step=3, validation_mean_recall=31.26),
        step(1, 4, 4),
        InversionStep(phase=1, step=10, steps=10, error=0.25),
    ) == [
        "Checking the pairs: 9 of 9",
        "Encoding the train split: texts: 5 of 5",
        "Epochs of the teachers: 4 of 4",
        "Phase 1 of 1: going on at step 3 of 4",
        "Phase 1 of 1: 4 of 4",
        "Phase 1 of 1, inversion: 10 of 10",
    ]


def test_a_tally_goes_on_from_what_is_done_and_keeps_what_was_said(shown):
    def count(emit):
        tally = Tally(emit, "Students", 3, done=1)
        tally.say("random, student 2")
        assert list(tally.counted("a")) == ["a"]
        tally.reach(2, "random, student 3")

    console_lines = shown(count)
    assert console_lines == ["Students: 2 of 3, random, student 3"]
