"""Pictures of Proposition 1 in numbers."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pairstill.analyze.draw import TITLES
from pairstill.analyze.one_step import Bound
from pairstill.analyze.proposition import NEAR, Proposition, difference_rows, fit, term_rows
from pairstill.report.figures import MUTED, Cell, drawing, save_figure, series_style

TERMS = {
    "hessian": "norm of the Hessian H",
    "hessian_change": "change of H in an epoch",
    "mixed": "norm of the mixed Hessian G",
    "mixed_change": "change of G in an epoch",
    "direction_change": "change of the direction v in an epoch",
}


def draw_proposition(measured: Proposition, folder: Path) -> None:
    """Write the figures `differences` and `terms` into a folder."""
    rows = list(difference_rows(measured))
    save_figure(_differences(rows, measured), folder / "differences", rows)
    save_figure(_terms(measured.bound), folder / "terms", list(term_rows(measured.bound)))


def _differences(rows: list[dict[str, Cell]], measured: Proposition) -> Figure:
    with drawing(10.0, 4.2) as figure:
        plain, logarithmic = figure.subplots(1, 2)
        for number, name in enumerate(measured.differences):
            mine: Any = [row for row in rows if row["path"] == name]
            _plain(plain, mine, number, TITLES[name])
            apart = [row["distance_of_starts"] for row in mine]
            logarithmic.plot(apart, [row["highest"] for row in mine], label=TITLES[name], **series_style(number))
        ends = [apart for apart, _ in measured.differences["line"].by_distance()]
        bounds = (
            ("K as printed", measured.bound.printed, "--"),
            ("K of the proof's step (iii)", measured.bound.derived, ":"),
        )
        for label, slope, dashes in bounds:
            logarithmic.plot(
                ends, [slope * end for end in ends], dashes, color=MUTED, label=f"bound, lower estimate: {label}"
            )
        plain.set_title(f"Mean over starts; dashed: fit through 0, up to {NEAR} epochs")
        plain.set_xlim(left=0)
        plain.set_ylim(bottom=0)
        logarithmic.set_title("The largest difference, and the bound")
        logarithmic.set_xscale("log")
        logarithmic.set_yscale("log")
        for axes in (plain, logarithmic):
            axes.set_xlabel("distance of the starts, epochs")
            axes.legend(fontsize=8)
        plain.set_ylabel("difference of gradients / their mean norm")
        logarithmic.set_ylabel("norm of the difference of gradients")
    return figure


def _plain(axes: Axes, rows: list[dict[str, Any]], number: int, label: str) -> None:
    style = series_style(number)
    apart, means = ([row[key] for row in rows] for key in ("distance_of_starts", "difference_over_mean_norm"))
    axes.plot(apart, means, label=label, **style)
    axes.plot([0, NEAR], [0, NEAR * fit(apart, means).slope], "--", color=style["color"], linewidth=1)


def _terms(bound: Bound) -> Figure:
    with drawing(6.4, 3.8) as figure:
        axes = figure.subplots()
        starts = [term.start for term in bound.terms]
        for number, (key, label) in enumerate(TERMS.items()):
            axes.plot(starts, [getattr(term, key) for term in bound.terms], label=label, **series_style(number))
        axes.set_yscale("log")
        axes.set_xticks(starts)
        axes.set_xlabel("start on the straight line, epoch")
        axes.set_title("Terms of the bound")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
