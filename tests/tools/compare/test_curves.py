from xml.etree import ElementTree

from pairstill.report.curves import CurvePoint
from pairstill.report.figures import save_figure
from pairstill.tools.compare.curves import curve_rows, draw_curves

SVG_TEXT = "{http://www.w3.org/2000/svg}text"

STEPS = ((1, "features", 1), (1, "features", 2), (1, "pixels", 1), (1, "pixels", 2), (2, "pixels", 1))
POINTS = [
    *(
        CurvePoint(quantity, *step, position, 0.5)
        for position, step in enumerate(STEPS, start=1)
        for quantity in ("loss", "rate_image", "rate_text")
    ),
    CurvePoint("validation_recall", 1, "pixels", 2, 4, 20.0),
    CurvePoint("validation_recall", 2, "pixels", 1, 5, 30.0),
]


def test_the_table_holds_every_point_of_every_run():
    rows = curve_rows({"a": POINTS, "b": POINTS[:2]})
    assert [row["run"] for row in rows] == ["a"] * len(POINTS) + ["b"] * 2
    assert list(rows[0]) == ["run", "quantity", "phase", "stage", "step", "position", "value"]


def test_lines_break_between_phases_and_each_run_is_named_once():
    figure = draw_curves({"a": POINTS, "b": POINTS})
    loss, rates, recall = figure.axes
    assert [list(line.get_xdata()) for line in loss.get_lines()] == [[1, 2], [3, 4], [5]] * 2
    assert (len(rates.get_lines()), len(recall.get_lines())) == (12, 4)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_what_no_run_has_measured_gets_no_panel():
    figure = draw_curves({"a": [point for point in POINTS if point.quantity != "validation_recall"]})
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "rate (dashed: text side)"]


def test_paths_in_the_legend_are_no_formulas_and_what_is_written_is_whole(tmp_path):
    names = ["runs/$x_{", "runs/a$b$c\\frac", "runs/\x1b[0m"]
    figure = draw_curves({name: POINTS for name in names})
    files = save_figure(figure, tmp_path / "curves", curve_rows({name: POINTS for name in names}))
    texts = {"".join(text.itertext()).strip() for text in ElementTree.parse(files.svg).iter(SVG_TEXT)}
    assert {"runs/$x_{", "runs/a$b$c\\frac", "runs/␛[0m"} <= texts
