"""Pictures of the shape of trajectories."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pairstill.analyze.draw import TITLES
from pairstill.analyze.inputs import PATHS
from pairstill.analyze.trajectories import TrajectoryShapes, angle_rows, distance_rows, length_rows, view_rows, views
from pairstill.report.figures import MUTED, PALETTE, Cell, drawing, save_figure, series_style

NAMED_LAYERS = 30
"""More layers than this are drawn without their names."""


def draw_trajectories(shapes: TrajectoryShapes, folder: Path) -> None:
    """Write the figures `distances`, `straightness`, `angles` and `view` (Figure 6) into a folder."""
    apart, lengths = list(distance_rows(shapes)), list(length_rows(shapes))
    angles = list(angle_rows(shapes))
    save_figure(_distances(apart), folder / "distances", apart)
    save_figure(_straightness(lengths), folder / "straightness", lengths)
    save_figure(_angles(shapes, angles), folder / "angles", angles)
    save_figure(_view(shapes), folder / "view", list(view_rows(shapes)))


def _distances(rows: list[dict[str, Cell]]) -> Figure:
    sides = list(dict.fromkeys(row["side"] for row in rows))
    with drawing(4.2 * len(sides) + 0.4, 3.6) as figure:
        for axes, side in zip(figure.subplots(1, len(sides), squeeze=False)[0], sides, strict=True):
            for number, path in enumerate(PATHS):
                mine = [row for row in rows if row["side"] == side and row["path"] == path]
                epochs: Any = [row["epoch"] for row in mine]
                for key, dashes in (("distance_between_experts", "-"), ("distance_from_start", ":")):
                    values: Any = [row[key] for row in mine]
                    if None not in values:
                        style = series_style(number)
                        axes.plot(epochs, values, dashes, label=f"{path}: {key.replace('_', ' ')}", **style)
            axes.set_title(f"Parameters of the {side} side")
            axes.set_xlabel("epoch")
            axes.set_ylim(bottom=0)
        figure.axes[0].set_ylabel("distance")
        figure.axes[0].legend(loc="best", fontsize=8)
    return figure


def _straightness(rows: list[dict[str, Cell]]) -> Figure:
    known: Any = [row for row in rows if row["straightness"] is not None]
    named = len(known) <= NAMED_LAYERS
    with drawing(6.4, 1.2 + (0.32 * len(known) if named else 3.2)) as figure:
        axes = figure.subplots()
        places = range(len(known))
        values = [row["straightness"] for row in known]
        if named:
            axes.hlines(places, 0, values, color=PALETTE[0], linewidth=1.2)
            axes.set_yticks(places, [row["layer"] for row in known])
            axes.set_ylim(len(known) - 0.5, -0.5)
        else:
            axes.set_ylabel("layer, from the input on")
            axes.invert_yaxis()
        axes.plot(values, places, "o", color=PALETTE[0])
        axes.set_xlim(0, 1.02)
        axes.set_xlabel("distance from start to end / length of the path")
        axes.set_title("Straightness by layer: 1 is a straight line, as shortcuts are")
    return figure


def _angles(shapes: TrajectoryShapes, rows: list[dict[str, Cell]]) -> Figure:
    with drawing(6.6, 4.0) as figure:
        axes = figure.subplots()
        for number, layer in enumerate(shapes.layers):
            label = "original: each layer" if number == 0 else None
            _angle_line(axes, rows, layer, "original", color=MUTED, linewidth=0.8, alpha=0.55, label=label)
        for number, path in enumerate(PATHS):
            _angle_line(axes, rows, "all", path, label=f"{path}: all parameters", **series_style(number))
        axes.set_xlabel("epoch")
        axes.set_xticks(range(1, shapes.epochs))
        axes.set_ylim(bottom=0)
        axes.set_ylabel("turning angle in degrees")
        axes.set_title("How far trajectories turn at each epoch (0 is straight on)")
        axes.legend()
    return figure


def _angle_line(axes: Axes, rows: list[dict[str, Cell]], layer: str, path: str, **style: Any) -> None:
    mine = [row for row in rows if row["layer"] == layer and row["path"] == path and row["turning_angle"] is not None]
    epochs: Any = [row["epoch"] for row in mine]
    angles: Any = [row["turning_angle"] for row in mine]
    axes.plot(epochs, angles, **style)


def _view(shapes: TrajectoryShapes) -> Figure:
    shown = views(shapes)
    with drawing(5.0 * len(shown), 4.3) as figure:
        for number, experts in enumerate(shown, start=1):
            axes: Any = figure.add_subplot(1, len(shown), number, projection="3d")
            _view_axes(axes, shapes, experts)
            axes.set_title(f"{experts} experts, each from its start" if experts > 1 else "One expert")
        lines = [
            Line2D([], [], color=PALETTE[0], marker="o", markersize=4),
            Line2D([], [], color=PALETTE[1], marker="s", markersize=4),
        ]
        figure.legend(lines, [TITLES[path] for path in PATHS], loc="outside lower center", ncols=2)
    return figure


def _view_axes(axes: Any, shapes: TrajectoryShapes, experts: int) -> None:
    view = shapes.view(experts)
    for expert in range(experts):
        for number, path in enumerate(PATHS):
            x, y, z = view.values[shapes.view_rows(path, expert, experts)].T.tolist()
            axes.plot(x, y, z, linewidth=1.2, markersize=3, **series_style(number))
            if path == "original":
                axes.text(x[-1], y[-1], z[-1], f" {shapes.epochs}", size=8, color=MUTED)
    for name, share in zip(("x", "y", "z"), view.shares.tolist(), strict=True):
        getattr(axes, f"set_{name}label")(f"{share:.0%} of variance", fontsize=8)
        getattr(axes, f"{name}axis").set_tick_params(labelsize=7)
        getattr(axes, f"{name}axis").set_pane_color((1, 1, 1, 0))
    axes.set_box_aspect(None, zoom=0.95)
