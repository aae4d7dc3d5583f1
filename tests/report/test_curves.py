from pairstill.report.curves import run_charts


def step(phase, number, stage="pixels"):
    return {
        "event": "distill_step",
        "phase": phase,
        "stage": stage,
        "step": number,
        "losses": {"image": 0.5, "text": 0.25 * number},
        "inner_lr_image": 0.1,
        "inner_lr_text": 0.2,
    }


def epoch(expert, number, loss):
    return {"event": "teacher_epoch", "expert": expert, "epoch": number, "loss": loss, "validation_mean_recall": 9.0}


def test_a_run_without_events_has_no_charts():
    assert run_charts([]) == []


def test_teachers_are_shown_by_mean_and_range():
    loss, recall = run_charts([epoch(0, 1, 4.0), epoch(1, 1, 2.0), epoch(0, 2, 1.0)])
    lines = {line.name: line.points for line in loss.lines}
    assert lines == {
        "mean of 2": ((1, 3.0), (2, 1.0)),
        "highest": ((1, 4.0), (2, 1.0)),
        "lowest": ((1, 2.0), (2, 1.0)),
    }
    assert recall.title == "Teachers: validation recall"
    assert [line.name for line in run_charts([epoch(0, 1, 4.0)])[0].lines] == ["the expert"]


def test_every_phase_and_stage_has_its_own_curves():
    events = [step(1, 1, "features"), step(1, 1), step(1, 2), step(2, 1)]
    events.append({"event": "validation", "phase": 2, "step": 1, "validation_mean_recall": 30.0})
    warm, loss, _, rates, recall = run_charts(events)
    assert (warm.title, loss.title, rates.title) == ("Loss, features", "Loss, pixels", "Learned rates, pixels")
    assert {line.name: line.points for line in warm.lines} == {"phase 1": ((1, 0.75),)}
    assert {line.name: line.points for line in loss.lines} == {
        "phase 1": ((1, 0.75), (2, 1.0)),
        "phase 2": ((1, 0.75),),
    }
    assert [line.name for line in rates.lines][-2:] == ["phase 2, images", "phase 2, texts"]
    assert recall.lines[0].points == ((1, 30.0),)
