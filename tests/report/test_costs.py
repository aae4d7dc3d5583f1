"""Charts of recall by bytes on disk, and by the students' encoders."""

from typing import Any

from pairstill.evaluate.results import RECALL_KEYS, Row, summarise
from pairstill.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, Chart, draw
from pairstill.report.costs import by_encoder, cost_charts, on_disk


def _result(method: str, recall: float, disk: int | None, protocol: str = "strict") -> dict[str, Any]:
    about = {"method": method, "protocol": protocol, "num_pairs": 9, "bytes": 10**9, "disk_bytes": disk, "seconds": 1.0}
    return {**about, "seeds": {"run": 0, "student": 0}, **dict.fromkeys(RECALL_KEYS, recall), "mean_recall": recall}


def _rows(*results: dict[str, Any]) -> list[Row]:
    return summarise(results)


def _student(image: str, text: str, recall: float) -> dict[str, Any]:
    return {"image": f"{image} (w.safetensors, 64 px)", "text": f"{text} (8)", "mean_recall": recall}


def test_bytes_on_disk_lie_on_powers_of_ten_above_a_recall_of_zero():
    rows = _rows(_result("ptm_st", 40.0, 10**5), _result("random", 20.0, 10**6), _result("full", 0.0, 10**7))
    (chart,) = cost_charts(rows, [])
    drawing = draw(chart)
    assert [tick.label for tick in drawing.x_ticks] == ["100 kB", "1 MB", "10 MB"]
    middle = (LEFT + WIDTH - RIGHT) / 2
    assert drawing.paths[1].startswith(f"M{middle} ") and drawing.paths[2].endswith(f" {float(HEIGHT - BOTTOM)}h0.01")
    assert "PTM-ST: 40 at 100.0 kB; Random: 20 at 1.0 MB" in drawing.summary


def test_bytes_of_one_power_have_an_axis():
    assert len(draw(cost_charts(_rows(_result("ptm_st", 1.0, 10), _result("random", 2.0, 10)), [])[0]).x_ticks) == 2


def test_rows_without_known_bytes_and_of_other_protocols_are_not_drawn():
    rows = _rows(
        _result("ptm_st", 1.0, 10),
        _result("ptm_st", 2.0, 10, "paper"),
        _result("random", 1.0, None),
        _result("full", 9.0, 20),
    )
    assert [row.title for row in on_disk(rows)] == ["PTM-ST", "Full data"]
    assert cost_charts(_rows(_result("ptm_st", 1.0, 10)), []) == []


def test_recall_by_encoder_is_the_mean_over_students_with_a_line_for_each_text_encoder():
    students = [_student("a", "x", 10.0), _student("a", "x", 20.0), _student("b", "x", 5.0), _student("b", "y", 7.0)]
    (chart,) = cost_charts([], students)
    assert chart.names == ("a", "b")
    assert [(line.name, line.points) for line in chart.lines] == [
        ("x", ((0.0, 15.0), (1.0, 5.0))),
        ("y", ((1.0, 7.0),)),
    ]
    drawing = draw(chart)
    assert [tick.label for tick in drawing.x_ticks] == ["a", "b"] and drawing.summary == "x: 15 at a, 5 at b; y: 7 at b"
    assert drawing.paths[0].count("M") == 2, "points are not joined"


def test_long_names_of_encoders_are_written_smaller_so_that_they_stand_side_by_side():
    def chart(*names: str) -> Chart:
        return cost_charts([], [_student(name, "x", 1.0) for name in names])[0]

    assert chart("a", "b").name_size == 11.0
    long = chart(*(f"tf_efficientnet_lite{n}" for n in range(4)))
    assert long.name_size < 8 and long.name_size * 0.6 * 4 * 21 <= WIDTH - LEFT - RIGHT + 20


def test_encoders_of_one_name_are_not_one_encoder():
    small = {"image": "a (w.safetensors, 64 px)", "text": "x (8)", "mean_recall": 10.0}
    large, other = {**small, "image": "a (w.safetensors, 96 px)", "mean_recall": 30.0}, {**small, "image": "b"}
    assert by_encoder([small, large, other]) == {"x": {small["image"]: 10.0, large["image"]: 30.0, "b": 10.0}}
