"""Phases that set themselves, end to end: chosen once, written down, and the same whatever interrupts."""

import json

import pytest

from pairstill.cli import main

AUTO = (
    *(
        "--teacher.keep",
        "all",
        "--teacher.epochs",
        "3",
        "--teacher.lr_image",
        "0.03",
        "--teacher.lr_text",
        "0.03",
        "--teacher.captions",
        "all",
    ),
    *("--distill.auto_phases.min_pairs", "4", "--distill.auto_phases.repeats", "2"),
)


@pytest.fixture(scope="module", params=["trainable", "frozen"])
def automatic(request, do, options_of, tmp_path_factory):
    options = (*options_of[request.param], *AUTO)
    return do("run", tmp_path_factory.mktemp("auto") / "run", *options), options


def chosen(folder):
    return json.loads((folder / "phases.json").read_text())


def test_the_phases_are_written_down_with_their_reasons(automatic, events):
    folder, _ = automatic
    found = chosen(folder)
    phases = found["phases"]
    assert sum(phase["num_pairs"] for phase in phases) == 10 and sum(phase["outer_steps"] for phase in phases) == 8
    assert 1 <= len(phases) <= 2 and all(phase["num_pairs"] >= 4 for phase in phases)
    assert all(phase["range_start"] <= phase["range_end"] < phase["endpoint"] <= 3 for phase in phases)
    why = found["why"]
    assert len(why["validation_recall_by_teacher"]) == 2 and len(why["validation_recall_by_teacher"][0]) == 4
    (event,) = events(folder, "phases")
    assert event["phases"] == phases
    distilled = json.loads((folder / "distilled" / "distilled.json").read_text())
    assert distilled["provenance"]["distill"]["phases"] == phases
    assert distilled["provenance"]["distill"]["auto_phases"]["min_pairs"] == 4
    steps = [(step["phase"], epoch) for step in events(folder, "distill_step") for epoch in step["start_epochs"]]
    assert all(phases[p - 1]["range_start"] <= epoch <= phases[p - 1]["range_end"] for p, epoch in steps)


def test_teachers_and_recall_are_those_of_the_log(automatic, events):
    folder, _ = automatic
    recalls = chosen(folder)["why"]["validation_recall_by_teacher"]
    for event in events(folder, "teacher_epoch"):
        # snapshots are stored to 16 bits, which may exchange two neighbours of 12
        assert recalls[event["expert"]][event["epoch"]] == pytest.approx(event["validation_mean_recall"], abs=3)


@pytest.mark.parametrize("event", [{"event": "phases"}, {"event": "distill_step", "phase": 1, "step": 4}])
def test_interrupted_it_goes_on_to_the_same_phases_and_bits(
    tiny, do, interrupt, automatic, same_set, events, tmp_path, event
):
    folder, options = automatic
    interrupt(**event)
    assert main(tiny("distill", tmp_path / "run", *options)) == 130
    assert (tmp_path / "run" / "phases.json").exists() == (event["event"] == "distill_step")
    interrupt()
    do("distill", tmp_path / "run", *options)
    assert chosen(tmp_path / "run") == chosen(folder)
    assert same_set(tmp_path / "run", folder)
    assert len(events(tmp_path / "run", "phases")) == 1


def test_what_was_chosen_stays_chosen(tiny, do, automatic, results, capsys):
    folder, options = automatic
    before = results(folder)
    do("evaluate", folder, *options)
    assert results(folder) == before
    assert main(tiny("distill", folder, *options, "--distill.auto_phases.gain_left", "0.9")) == 2
    assert "distill.auto_phases.gain_left: 0.05 before, 0.9 now" in capsys.readouterr().err


def test_teachers_of_endpoints_only_are_refused(tiny, tmp_path, capsys):
    assert main(tiny("distill", tmp_path / "run", "--distill.auto_phases", "{}")) == 2
    assert "set teacher.keep to all" in capsys.readouterr().err.replace("\n", " ")
