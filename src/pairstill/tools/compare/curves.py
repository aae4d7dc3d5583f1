"""Distillations side by side: matching loss, learned rates and validation recall by outer step, phase after phase."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pairstill.core.formatting import printable
from pairstill.report.curves import CurvePoint, Quantity
from pairstill.report.figures import Cell, drawing, series_style

PANELS: tuple[tuple[str, str, dict[Quantity, str]], ...] = (
    ("Matching loss", "loss", {"loss": "-"}),
    ("Learned rates", "rate (dashed: text side)", {"rate_image": "-", "rate_text": "--"}),
    ("Validation recall", "mean recall in %", {"validation_recall": "-"}),
)
MARKS = 8  # of each line


def curve_rows(curves: Mapping[str, Sequence[CurvePoint]]) -> list[dict[str, Cell]]:
    """Return the points of named runs as the rows of a table."""
    # of runs for one image tower, which alone are compared
    return [
        {"run": name, **{part: value for part, value in vars(point).items() if part != "tower"}}
        for name, points in curves.items()
        for point in points
    ]


def draw_curves(curves: Mapping[str, Sequence[CurvePoint]]) -> Figure:
    """Draw the curves of named runs: a panel for each quantity that a run has, one colour for each run.

    Lines break between phases.
    """
    measured = {point.quantity for points in curves.values() for point in points}
    shown = [panel for panel in PANELS if measured.intersection(panel[2])] or PANELS[:1]
    with drawing(4.0 * len(shown), 3.8) as figure:
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for axes, (title, unit, quantities) in zip(panels, shown, strict=True):
            axes.set_title(title)
            axes.set_ylabel(unit)
            axes.set_xlabel("outer step, over all phases")
            for number, (name, points) in enumerate(curves.items()):
                for quantity, dashes in quantities.items():
                    found = [point for point in points if point.quantity == quantity]
                    _draw_line(axes, found, {**series_style(number), "linestyle": dashes}, name)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    return figure


def _draw_line(axes: Axes, points: Sequence[CurvePoint], style: Mapping[str, Any], name: str) -> None:
    """Draw one run's line, in a piece for each stage of each phase."""
    every = max(1, len(points) // MARKS)
    for number, (_, piece) in enumerate(groupby(points, key=lambda point: (point.phase, point.stage))):
        piece = list(piece)
        places, values = [point.position for point in piece], [point.value for point in piece]
        axes.plot(
            places, values, **style, markevery=every, linewidth=1.2, label=printable(name) if number == 0 else None
        )
