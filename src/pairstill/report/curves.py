"""The curves of a run, from its events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Literal

from pairstill.evaluate.results import of_tower
from pairstill.report.charts import Chart, Line

Event = Mapping[str, Any]
Quantity = Literal["loss", "rate_image", "rate_text", "validation_recall"]
STAGES = ("features", "pixels")


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
        tower: the number of the image tower that it belongs to, from 1, where there are several; else 0.
    """

    quantity: Quantity
    phase: int
    stage: str
    step: int
    position: int
    value: float
    tower: int = 0


def curve_points(events: Iterable[Event]) -> list[CurvePoint]:
    """Return the curves that the metrics of a run hold, in order; none for pairs that were not distilled."""
    events = list(events)
    steps = sorted((event for event in events if event["event"] == "distill_step"), key=_order)
    begins: dict[tuple[int, str], int] = {}  # of each stage, the position before its first step
    points = []
    for before, step in enumerate(steps):
        begin = begins.setdefault((step["phase"], step["stage"]), before)
        place = (step["phase"], step["stage"], step["step"], begin + step["step"])
        points.append(CurvePoint("loss", *place, sum(step["losses"].values())))
        rates: dict[Quantity, str] = {"rate_image": "inner_lr_image", "rate_text": "inner_lr_text"}
        for quantity, name in rates.items():
            own = sorted(key for key in step if key == name or key.startswith(f"{name}/"))  # not every method has any
            points += [CurvePoint(quantity, *place, step[key], int(key.partition("/")[2] or 0)) for key in own]
    for event in events:
        if event["event"] == "validation" and (event["phase"], "pixels") in begins:
            place = (event["phase"], "pixels", event["step"], begins[event["phase"], "pixels"] + event["step"])
            points.append(CurvePoint("validation_recall", *place, event["validation_mean_recall"]))
    return points


def _order(step: Event) -> tuple[int, bool, int]:
    """Return what sorts steps: features come before the pixels of their phase."""
    return step["phase"], step["stage"] == "pixels", step["step"]


def run_charts(events: Sequence[Event]) -> list[Chart]:
    """Return the charts of a run's events; those without any points are left out."""
    points = curve_points(events)
    rates: dict[Quantity, str] = {"rate_image": "images", "rate_text": "texts"}
    charts = [
        _teachers(events, "loss", "Teachers: loss", "InfoNCE"),
        _teachers(events, "validation_mean_recall", "Teachers: validation recall", "mean recall, %"),
        *(_steps(points, f"Loss, {stage}", "sum over its parts", {"loss": ""}, stage) for stage in STAGES),
        *(_steps(points, f"Learned rates, {stage}", "inner rate", rates, stage) for stage in STAGES),
        _steps(points, "Validation recall of a student", "mean recall, %", {"validation_recall": ""}, "pixels"),
    ]
    return [chart for chart in charts if chart.lines]


def _teachers(events: Iterable[Event], value: str, title: str, y_name: str) -> Chart:
    by_tower: dict[str | None, dict[int, list[float]]] = {}
    for event in events:
        if event["event"] == "teacher_epoch":
            by_tower.setdefault(event.get("tower"), {}).setdefault(event["epoch"], []).append(event[value])
    lines = []
    for tower, by_epoch in by_tower.items():
        experts = max(map(len, by_epoch.values()))
        kinds = {"the expert": mean} if experts == 1 else {f"mean of {experts}": mean, "highest": max, "lowest": min}
        lines += [
            Line(of_tower(name, tower), tuple((epoch, float(of(values))) for epoch, values in sorted(by_epoch.items())))
            for name, of in kinds.items()
        ]
    return Chart(title, "epoch", y_name, tuple(lines))


def _steps(points: Iterable[CurvePoint], title: str, y_name: str, names: Mapping[Quantity, str], stage: str) -> Chart:
    """Return curves over the outer steps of a stage: one for each phase and quantity that has a name."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        if point.stage == stage and point.quantity in names:
            name = f"phase {point.phase}" + (f", {names[point.quantity]}" if names[point.quantity] else "")
            name += f", tower {point.tower}" if point.tower else ""
            curves.setdefault(name, []).append((point.step, point.value))
    return Chart(title, "outer step", y_name, tuple(Line(name, tuple(sorted(of))) for name, of in curves.items()))
