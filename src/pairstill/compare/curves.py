"""The curves of a distillation: matching loss, learned rates and validation recall by outer step, phase after phase."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pairstill.report.figures import Cell, drawing, series_style

Quantity = Literal["loss", "rate_image", "rate_text", "validation_recall"]
PANELS: tuple[tuple[str, str, dict[Quantity, str]], ...] = (
    ("Matching loss", "loss", {"loss": "-"}),
    ("Learned rates", "rate (dashed: text side)", {"rate_image": "-", "rate_text": "--"}),
    ("Validation recall", "mean recall in %", {"validation_recall": "-"}),
)
MARKS = 8  # of each line


@dataclass(frozen=True)
class CurvePoint:
    """One value of a curve.

    Attributes:
        quantity: what it is of.
        phase: number of the phase.
        stage: `pixels`, or `features` in the warm start of features first.
        step: the outer step in its stage.
        position: the outer step over all phases and stages.
        value: the value.
    """

    quantity: Quantity
    phase: int
    stage: str
    step: int
    position: int
    value: float


def curve_points(events: Iterable[Mapping[str, Any]]) -> list[CurvePoint]:
    """Return the curves that the metrics of a run hold, in order; none for pairs that were not distilled."""
    events = list(events)
    steps = [event for event in events if event["event"] == "distill_step"]
    ends: dict[tuple[int, str], int] = {}  # of each stage, the position before its first step
    for step in steps:
        stage = (step["phase"], step["stage"])
        ends.setdefault(stage, sum(1 for other in steps if _order(other) < _order(step)))
    points = []
    for step in sorted(steps, key=lambda step: (_order(step), step["step"])):
        place = (step["phase"], step["stage"], step["step"], ends[step["phase"], step["stage"]] + step["step"])
        points.append(CurvePoint("loss", *place, sum(step["losses"].values())))
        points.append(CurvePoint("rate_image", *place, step["inner_lr_image"]))
        points.append(CurvePoint("rate_text", *place, step["inner_lr_text"]))
    for event in events:
        if event["event"] == "validation" and (event["phase"], "pixels") in ends:
            position = ends[event["phase"], "pixels"] + event["step"]
            place = (event["phase"], "pixels", event["step"], position)
            points.append(CurvePoint("validation_recall", *place, event["validation_mean_recall"]))
    return points


def _order(step: Mapping[str, Any]) -> tuple[int, bool]:
    """Return what sorts stages: features come before the pixels of their phase."""
    return step["phase"], step["stage"] == "pixels"


def curve_rows(curves: Mapping[str, Sequence[CurvePoint]]) -> list[dict[str, Cell]]:
    """Return the points of named runs as the rows of a table."""
    return [{"run": name, **vars(point)} for name, points in curves.items() for point in points]


def draw_curves(curves: Mapping[str, Sequence[CurvePoint]]) -> Figure:
    """Draw the curves of named runs: three panels, one colour for each run, lines that break between phases."""
    with drawing(12.0, 3.8) as figure:
        panels = figure.subplots(1, len(PANELS))
        for axes, (title, unit, quantities) in zip(panels, PANELS, strict=True):
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
        axes.plot(places, values, **style, markevery=every, linewidth=1.2, label=name if number == 0 else None)
