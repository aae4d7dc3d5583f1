"""Curves, and points, as shapes of an SVG picture, which a page draws in its own colours."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from pairstill.core.formatting import human_bytes

WIDTH, HEIGHT = 400, 230
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 42
MOST_POINTS = 240


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        name: what it shows.
        points: x and y, ordered by x; at least one.
    """

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """Curves over one pair of axes, or points, which nothing joins.

    Attributes:
        title: what they show.
        x_name: name of the x axis.
        y_name: name of the y axis.
        lines: the curves, at least one.
        x_axis: `linear`; `bytes`, whose points lie on powers of ten; or `names`, whose points' x are places in `names`.
        names: of the places on the x axis, from 0.
    """

    title: str
    x_name: str
    y_name: str
    lines: tuple[Line, ...]
    x_axis: Literal["linear", "bytes", "names"] = "linear"
    names: tuple[str, ...] = ()

    @property
    def name_size(self) -> float:
        """Size of letters, in units of the picture, with which the names below the x axis stand side by side."""
        letters = len(self.names) * max(map(len, self.names), default=0)
        return min(11.0, round(1.7 * (WIDTH - LEFT - RIGHT) / max(1, letters), 1))

    @property
    def has_points(self) -> bool:
        """Whether what it shows are points, above an axis that begins at 0."""
        return self.x_axis != "linear"


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where it lies in the picture, and its label."""

    place: float
    label: str


@dataclass(frozen=True)
class Drawing:
    """A chart as shapes.

    Attributes:
        chart: what is drawn.
        paths: an SVG path for each curve.
        x_ticks: marks on the x axis.
        y_ticks: marks on the y axis.
        summary: the curves in words.
    """

    chart: Chart
    paths: tuple[str, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    summary: str


def draw(chart: Chart) -> Drawing:
    """Return a chart as shapes in a picture of `WIDTH` by `HEIGHT`."""
    marks = _x_marks(chart)
    ys = [y for line in chart.lines for _, y in line.points] + [0.0] * chart.has_points
    y_marks = ticks(min(ys), max(ys), 5)
    y_range = _wide(min(*ys, y_marks[0]), max(*ys, y_marks[-1]))

    def at_x(x: float) -> float:
        low, high = marks.range
        return round(LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def at_y(y: float) -> float:
        return round(HEIGHT - BOTTOM - (y - y_range[0]) / (y_range[1] - y_range[0]) * (HEIGHT - TOP - BOTTOM), 1)

    def path(line: Line) -> str:
        if chart.has_points:
            # a line of no length has round ends: a dot
            return "".join(f"M{at_x(marks.place(x))} {at_y(y)}h0.01" for x, y in line.points)
        places = [f"{at_x(x)} {at_y(y)}" for x, y in thin(line.points)]
        return "M" + "L".join(places) if len(places) > 1 else f"M{places[0]}h0.01"

    return Drawing(
        chart,
        tuple(map(path, chart.lines)),
        tuple(Tick(at_x(mark), label) for mark, label in marks.labels.items()),
        tuple(Tick(at_y(mark), _label(mark, y_marks)) for mark in y_marks),
        "; ".join(_in_words(line, chart) for line in chart.lines),
    )


@dataclass(frozen=True)
class _Marks:
    """What stands on an x axis: its range, the labels of its marks, and where a value lies."""

    range: tuple[float, float]
    labels: dict[float, str]
    place: Callable[[float], float] = float


def _x_marks(chart: Chart) -> _Marks:
    xs = [x for line in chart.lines for x, _ in line.points]
    match chart.x_axis:
        case "names":
            return _Marks((-0.5, len(chart.names) - 0.5), {float(n): name for n, name in enumerate(chart.names)})
        case "bytes":
            first, last = math.floor(math.log10(min(xs))), math.ceil(math.log10(max(xs)))
            last += last == first
            powers = range(first, last + 1)
            return _Marks((first, last), {float(power): _power(power) for power in powers}, math.log10)
        case "linear":
            low, high = _wide(min(xs), max(xs))
            marks = ticks(min(xs), max(xs), 6, least=1)
            return _Marks((low, high), {mark: _label(mark, marks) for mark in marks if low <= mark <= high})
        case _:
            assert_never(chart.x_axis)


def _power(power: int) -> str:
    """Return a power of ten of bytes, without decimals."""
    return human_bytes(10**power).replace(".0", "")


def thin(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """Return at most `most` points, each the mean of as many neighbours.

    Example:
        >>> thin([(1, 0.0), (2, 2.0), (3, 4.0), (4, 6.0)], 2)
        [(1.5, 1.0), (3.5, 5.0)]
    """
    size = -(-len(points) // most)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def ticks(low: float, high: float, about: int, least: float = 0) -> list[float]:
    """Return round numbers, 1, 2 or 5 times a power of ten apart, that cover a range.

    Args:
        low: lower end.
        high: upper end.
        about: how many steps there should be.
        least: they are no closer than this, a power of ten; epochs and steps are whole.

    Example:
        >>> ticks(3, 47, 5)
        [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    """
    low, high = _wide(low, high)
    rough = max((high - low) / about, least)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _wide(low: float, high: float) -> tuple[float, float]:
    """Return a range that is not empty."""
    if high > low:
        return low, high
    margin = abs(low) * 0.1 or 0.5
    return low - margin, high + margin


def _label(mark: float, marks: Sequence[float]) -> str:
    """Return a mark's label, with as many decimals as the marks need."""
    step = marks[1] - marks[0] if len(marks) > 1 else 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{mark:,.{decimals}f}"


def _in_words(line: Line, chart: Chart) -> str:
    values = [y for _, y in line.points]
    if chart.has_points:
        places = (chart.names[int(x)] if chart.names else human_bytes(int(x)) for x, _ in line.points)
        return f"{line.name}: " + ", ".join(f"{y:.4g} at {place}" for place, y in zip(places, values, strict=True))
    if len(values) == 1:
        return f"{line.name}: {values[0]:.4g}"
    return f"{line.name}: from {values[0]:.4g} to {values[-1]:.4g}, lowest {min(values):.4g}, highest {max(values):.4g}"
