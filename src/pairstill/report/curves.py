"""The curves of a run, from its events."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from pairstill.report.charts import Chart, Line

Event = Mapping[str, Any]
Values = Callable[[Event], dict[str, float]]
STAGES = ("features", "pixels")


def run_charts(events: Sequence[Event]) -> list[Chart]:
    """Return the charts of a run's events; those without any points are left out."""
    charts = [
        _teachers(events, "loss", "Teachers: loss", "InfoNCE"),
        _teachers(events, "validation_mean_recall", "Teachers: validation recall", "mean recall, %"),
        *(_steps(events, "Loss", "sum over its parts", stage, _losses) for stage in STAGES),
        *(_steps(events, "Learned rates", "inner rate", stage, _rates) for stage in STAGES),
        _validations(events),
    ]
    return [chart for chart in charts if chart.lines]


def _teachers(events: Iterable[Event], value: str, title: str, y_name: str) -> Chart:
    by_epoch: dict[int, list[float]] = {}
    for event in events:
        if event["event"] == "teacher_epoch":
            by_epoch.setdefault(event["epoch"], []).append(event[value])
    experts = max(map(len, by_epoch.values()), default=0)
    kinds = {"the expert": mean} if experts == 1 else {f"mean of {experts}": mean, "highest": max, "lowest": min}
    lines = [
        Line(name, tuple((epoch, float(of(values))) for epoch, values in sorted(by_epoch.items())))
        for name, of in kinds.items()
        if by_epoch
    ]
    return Chart(title, "epoch", y_name, tuple(lines))


def _losses(step: Event) -> dict[str, float]:
    return {"": sum(step["losses"].values())}


def _rates(step: Event) -> dict[str, float]:
    return {"images": step["inner_lr_image"], "texts": step["inner_lr_text"]}


def _steps(events: Iterable[Event], title: str, y_name: str, stage: str, values: Values) -> Chart:
    """Return curves over the outer steps of a stage: one for each phase and name that `values` gives."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for event in events:
        if event["event"] == "distill_step" and event["stage"] == stage:
            for name, value in values(event).items():
                curves.setdefault(_named(event["phase"], name), []).append((event["step"], value))
    return Chart(f"{title}, {stage}", "outer step", y_name, _lines(curves))


def _validations(events: Iterable[Event]) -> Chart:
    curves: dict[str, list[tuple[float, float]]] = {}
    for event in events:
        if event["event"] == "validation":
            point = (event["step"], event["validation_mean_recall"])
            curves.setdefault(_named(event["phase"]), []).append(point)
    return Chart("Validation recall of a student", "outer step", "mean recall, %", _lines(curves))


def _named(phase: int, name: str = "") -> str:
    return f"phase {phase}" + (f", {name}" if name else "")


def _lines(curves: Mapping[str, list[tuple[float, float]]]) -> tuple[Line, ...]:
    return tuple(Line(name, tuple(sorted(points))) for name, points in curves.items())
