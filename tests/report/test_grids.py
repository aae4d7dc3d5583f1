"""Tables of text cells in three forms."""

import csv
import io

import pytest

from pairstill.report.grids import Grid, grid_csv, grid_latex, grid_markdown

GRID = Grid(("row", "mean"), (("PTM_ST | 50 %", "33.1 ± 0.4"), ('a "b", c', "")))


def test_markdown_keeps_its_columns():
    assert grid_markdown(GRID).splitlines() == [
        "| row | mean |",
        "| --- | ---: |",
        r"| PTM_ST \| 50 % | 33.1 ± 0.4 |",
        '| a "b", c |  |',
    ]


def test_csv_reads_back():
    assert list(csv.reader(io.StringIO(grid_csv(GRID)))) == [list(GRID.header), *map(list, GRID.rows)]


def test_latex_escapes_what_it_would_take_for_commands():
    text = grid_latex(GRID, r"50% of \full_data")
    assert r"\caption{50\% of \textbackslash{}full\_data}" in text
    assert r"PTM\_ST | 50 \% & 33.1 $\pm$ 0.4 \\" in text
    assert r"\begin{tabular}{lr}" in text and text.count(r"\\") == 3


def test_a_row_must_fit_the_header():
    with pytest.raises(ValueError, match="has 1 cells for 2 columns"):
        Grid(("a", "b"), (("1",),))
