from pairstill.compare.curves import curve_points, curve_rows, draw_curves


def step(phase, number, loss, stage="pixels"):
    losses = {"image": loss, "text": 0.5}
    about = {"event": "distill_step", "phase": phase, "stage": stage, "step": number, "losses": losses}
    return {**about, "inner_lr_image": 0.1 * number, "inner_lr_text": 0.2}


EVENTS = [
    {"event": "stage", "stage": "prepare"},
    step(1, 1, 9.0, "features"),
    step(1, 2, 8.0, "features"),
    step(1, 1, 7.0),
    step(1, 2, 6.0),
    {"event": "validation", "phase": 1, "step": 2, "validation_mean_recall": 20.0},
    step(2, 1, 5.0),
    {"event": "validation", "phase": 2, "step": 1, "validation_mean_recall": 30.0},
]


def places(points, quantity):
    return [(p.phase, p.stage, p.step, p.position, p.value) for p in points if p.quantity == quantity]


def test_steps_are_counted_on_over_stages_and_phases():
    points = curve_points(EVENTS)
    assert places(points, "loss") == [
        *((1, "features", 1, 1, 9.5), (1, "features", 2, 2, 8.5)),
        *((1, "pixels", 1, 3, 7.5), (1, "pixels", 2, 4, 6.5), (2, "pixels", 1, 5, 5.5)),
    ]
    assert places(points, "validation_recall") == [(1, "pixels", 2, 4, 20.0), (2, "pixels", 1, 5, 30.0)]
    assert [value for *_, value in places(points, "rate_image")] == [0.1, 0.2, 0.1, 0.2, 0.1]


def test_a_run_without_a_distillation_has_no_curves():
    assert curve_points(EVENTS[:1]) == [] and curve_points([]) == []


def test_the_table_holds_every_point_of_every_run():
    points = curve_points(EVENTS)
    rows = curve_rows({"a": points, "b": points[:2]})
    assert [row["run"] for row in rows] == ["a"] * len(points) + ["b"] * 2
    assert list(rows[0]) == ["run", "quantity", "phase", "stage", "step", "position", "value"]


def test_lines_break_between_phases_and_each_run_is_named_once():
    points = curve_points(EVENTS)
    figure = draw_curves({"a": points, "b": points})
    loss, rates, recall = figure.axes
    assert [list(line.get_xdata()) for line in loss.get_lines()] == [[1, 2], [3, 4], [5]] * 2
    assert (len(rates.get_lines()), len(recall.get_lines())) == (12, 4)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
