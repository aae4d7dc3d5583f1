import pytest

from pairstill.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Line, draw, thin, ticks


def chart(*lines):
    return Chart("Loss", "step", "nats", tuple(Line(f"line {n}", tuple(points)) for n, points in enumerate(lines)))


def test_the_ends_of_a_curve_lie_at_the_ends_of_the_axes():
    drawing = draw(chart([(1, 0.0), (3, 5.0), (5, 10.0)]))
    middle = f"{(LEFT + WIDTH - RIGHT) / 2} {(TOP + HEIGHT - BOTTOM) / 2}"
    assert drawing.paths == (f"M{float(LEFT)} {float(HEIGHT - BOTTOM)}L{middle}L{float(WIDTH - RIGHT)} {float(TOP)}",)
    assert [tick.label for tick in drawing.y_ticks] == ["0", "2", "4", "6", "8", "10"]
    assert [tick.label for tick in drawing.x_ticks] == ["1", "2", "3", "4", "5"]


def test_a_single_point_is_a_dot_and_a_constant_curve_has_an_axis():
    assert draw(chart([(1, 2.0)])).paths[0].endswith("h0.01")
    drawing = draw(chart([(1, 2.0), (2, 2.0)]))
    assert len(drawing.y_ticks) >= 2


def test_all_curves_share_the_axes():
    drawing = draw(chart([(1, 0.0), (2, 1.0)], [(1, 100.0), (4, 100.0)]))
    low, high = (float(drawing.paths[n].split("L")[-1].split()[1]) for n in (0, 1))
    assert high == TOP and low > 0.9 * (HEIGHT - BOTTOM)


def test_steps_and_epochs_are_whole():
    assert ticks(1, 3, 6, least=1) == [1.0, 2.0, 3.0]
    assert ticks(0.1, 0.32, 4) == [0.1, 0.2, 0.3, 0.4]


def test_thinning_keeps_the_mean_and_the_order():
    points = [(float(n), float(n % 7)) for n in range(1000)]
    few = thin(points, 100)
    assert len(few) == 100 and few == sorted(few)
    assert sum(y for _, y in few) / 100 == pytest.approx(sum(y for _, y in points) / 1000)
    assert thin(points[:5], 100) == points[:5]


def test_the_summary_says_what_the_picture_shows():
    assert draw(chart([(1, 3.0), (2, 1.0), (3, 2.0)])).summary == "line 0: from 3 to 2, lowest 1, highest 3"
