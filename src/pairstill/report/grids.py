"""A table of text cells as Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

_LATEX = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "%&_#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "−": "$-$",
    }
)


@dataclass(frozen=True)
class Grid:
    """A table of text cells.

    Attributes:
        header: names of the columns; the first is text, the others numbers.
        rows: the cells of every row, as many as columns.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"the row {row} has {len(row)} cells for {len(self.header)} columns")


def grid_markdown(grid: Grid) -> str:
    r"""Return the table as Markdown.

    Example:
        >>> grid_markdown(Grid(("row", "mean"), (("a", "1"),)))
        '| row | mean |\n| --- | ---: |\n| a | 1 |\n'
    """
    lines = [_piped(grid.header), "| --- |" + " ---: |" * (len(grid.header) - 1), *map(_piped, grid.rows)]
    return "\n".join(lines) + "\n"


def grid_csv(grid: Grid) -> str:
    """Return the table as CSV with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([grid.header, *grid.rows])
    return text.getvalue()


def grid_latex(grid: Grid, caption: str) -> str:
    """Return the table as LaTeX, for the package booktabs.

    Args:
        grid: the table.
        caption: what stands above it.
    """
    lines = [
        r"\begin{table}",
        rf"\caption{{{_latex(caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(grid.header) - 1)}}}",
        r"\toprule",
        _ampersands(grid.header),
        r"\midrule",
        *map(_ampersands, grid.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _piped(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _ampersands(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def _latex(text: str) -> str:
    return text.translate(_LATEX)
