"""Figures are written whole, with their data, and to the same bytes."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from pairstill.report.figures import PALETTE, draw_matrix, drawing, save_figure, series_style, to_csv

ROWS = [{"epoch": 1, "recall": 2.5, "who": "teacher"}, {"epoch": 2, "recall": None, "who": "student, late"}]


def _figure() -> Figure:
    with drawing(3, 2) as figure:
        axes = figure.subplots()
        axes.plot([1, 2], [3.0, 4.0], label="a line", **series_style(0))
        axes.fill_between([1, 2], [2.0, 3.0], [4.0, 5.0], alpha=0.2)
        axes.set_title("Recall by epoch")
        axes.legend()
    return figure


def test_a_figure_is_three_files_that_hold_what_they_say(tmp_path: Path) -> None:
    files = save_figure(_figure(), tmp_path / "new" / "recall.v1", ROWS)
    assert {path.suffix for path in (tmp_path / "new").glob("recall.v1.*")} == {".png", ".svg", ".csv"}
    assert len(list((tmp_path / "new").iterdir())) == 3
    assert files.png.read_bytes().startswith(b"\x89PNG")
    assert files.csv.read_text() == 'epoch,recall,who\n1,2.5,teacher\n2,,"student, late"\n'
    svg = files.svg.read_text()
    assert "Recall by epoch</text>" in svg and PALETTE[0] in svg


def test_the_same_figure_gives_the_same_bytes_whatever_the_day(tmp_path: Path) -> None:
    first, second = (save_figure(_figure(), tmp_path / name, ROWS) for name in ("one", "two"))
    assert first.svg.read_bytes() == second.svg.read_bytes()
    assert first.png.read_bytes() == second.png.read_bytes()
    assert b"dc:date" not in first.svg.read_bytes()


def test_a_figure_whose_data_is_not_a_table_leaves_no_files(tmp_path: Path) -> None:
    for rows in ([], [{"a": 1}, {"b": 2}]):
        with pytest.raises(ValueError, match="figure's data"):
            save_figure(_figure(), tmp_path / "x", rows)
    assert not list(tmp_path.iterdir())


def test_numbers_keep_every_digit_in_csv() -> None:
    assert to_csv([{"x": 0.1 + 0.2}]) == "x\n0.30000000000000004\n"


def test_series_differ_in_colour_and_in_marker() -> None:
    styles = [series_style(number) for number in range(7)]
    assert len({style["color"] for style in styles}) == len({style["marker"] for style in styles}) == 7


def test_a_matrix_shows_its_first_row_on_top_and_ink_that_can_be_read() -> None:
    with drawing() as figure:
        axes = figure.subplots()
        cells = draw_matrix(axes, [[1.0, 0.0], [-1.0, 0.5]], ["a", "b"], ["c", "d"])
    assert axes.yaxis_inverted()
    assert cells.get_clim() == (-1.0, 1.0)
    shown = {text.get_text(): text.get_color() for text in axes.texts}
    assert list(shown) == ["1.00", "0.00", "-1.00", "0.50"]
    assert shown["1.00"] == shown["-1.00"] == "white" and shown["0.00"] != "white"
