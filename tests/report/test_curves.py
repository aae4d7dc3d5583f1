from pairstill.report.curves import curve_points, run_charts


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


def validation(phase, number, recall):
    return {"event": "validation", "phase": phase, "step": number, "validation_mean_recall": recall}


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


def test_teachers_behind_each_tower_have_curves_of_their_own():
    loss, _ = run_charts([{**epoch(0, 1, loss), "tower": tower} for tower, loss in (("a (1)", 4.0), ("b (2)", 2.0))])
    assert {line.name: line.points for line in loss.lines} == {
        "the expert, a (1)": ((1, 4.0),),
        "the expert, b (2)": ((1, 2.0),),
    }


def test_every_phase_and_stage_has_its_own_curves():
    events = [step(1, 1, "features"), step(1, 1), step(1, 2), step(2, 1)]
    events.append(validation(2, 1, 30.0))
    warm, loss, _, rates, recall = run_charts(events)
    assert (warm.title, loss.title, rates.title) == ("Loss, features", "Loss, pixels", "Learned rates, pixels")
    assert {line.name: line.points for line in warm.lines} == {"phase 1": ((1, 0.75),)}
    assert {line.name: line.points for line in loss.lines} == {
        "phase 1": ((1, 0.75), (2, 1.0)),
        "phase 2": ((1, 0.75),),
    }
    assert [line.name for line in rates.lines][-2:] == ["phase 2, images", "phase 2, texts"]
    assert recall.lines[0].points == ((1, 30.0),)


def test_steps_are_counted_on_over_stages_and_phases():
    steps = [step(1, 1, "features"), step(1, 2, "features"), step(1, 1), step(1, 2), step(2, 1)]
    points = curve_points([{"event": "stage"}, *steps, validation(1, 2, 20.0), validation(2, 1, 30.0)])

    def places(quantity):
        return [(p.phase, p.stage, p.step, p.position, p.value) for p in points if p.quantity == quantity]

    assert places("loss") == [
        *((1, "features", 1, 1, 0.75), (1, "features", 2, 2, 1.0)),
        *((1, "pixels", 1, 3, 0.75), (1, "pixels", 2, 4, 1.0), (2, "pixels", 1, 5, 0.75)),
    ]
    assert places("validation_recall") == [(1, "pixels", 2, 4, 20.0), (2, "pixels", 1, 5, 30.0)]
    assert [value for *_, value in places("rate_image")] == [0.1] * 5
    assert curve_points(reversed(steps)) == curve_points(steps), "the order of the log does not matter"


def test_a_run_without_a_distillation_has_no_curves():
    assert curve_points([{"event": "stage"}]) == [] and curve_points([]) == []
