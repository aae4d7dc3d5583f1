"""Pictures of gradients by start epoch."""

from pathlib import Path

from matplotlib.figure import Figure

from pairstill.analyze.draw import TITLES
from pairstill.analyze.gradients import GradientShapes, cosine_rows, norm_rows, plane_rows
from pairstill.analyze.inputs import PATHS
from pairstill.report.figures import MUTED, draw_matrix, drawing, save_figure, series_style


def draw_gradients(shapes: GradientShapes, folder: Path) -> None:
    """Write the figures `cosines` (Figure 4), `plane` (Figure 2b) and `norms` into a folder."""
    save_figure(_cosines(shapes), folder / "cosines", list(cosine_rows(shapes)))
    save_figure(_plane(shapes), folder / "plane", list(plane_rows(shapes)))
    save_figure(_norms(shapes), folder / "norms", list(norm_rows(shapes)))


def _cosines(shapes: GradientShapes) -> Figure:
    labels = [str(start) for start in shapes.starts]
    with drawing(9.2, 4.5) as figure:
        both = figure.subplots(1, len(PATHS))
        cells = None
        for axes, path in zip(both, PATHS, strict=True):
            cells = draw_matrix(axes, shapes.cosines(path).mean(0).tolist(), labels, labels)
            axes.set_title(TITLES[path])
            axes.set_xlabel("start epoch")
        both[0].set_ylabel("start epoch")
        assert cells is not None
        figure.colorbar(
            cells, ax=both, label="cosine similarity of gradients", shrink=0.85, ticks=[-1, -0.5, 0, 0.5, 1]
        )
    return figure


def _plane(shapes: GradientShapes) -> Figure:
    plane = shapes.plane()
    with drawing(6.4, 4.6) as figure:
        axes = figure.subplots()
        for number, path in enumerate(PATHS):
            style = series_style(number)
            points = plane.values[shapes.of_path(path)]
            axes.plot(*points.T.tolist(), label=TITLES[path], linewidth=1, alpha=0.9, **style)
            offset = (-12, 4) if number else (6, 4)
            for start, place in zip(shapes.starts, points.tolist(), strict=True):
                axes.annotate(
                    str(start), place, xytext=offset, textcoords="offset points", size=8.5, color=style["color"]
                )
        first, second = (f"{share:.0%}" for share in plane.shares.tolist())
        axes.set_xlabel(f"first principal component ({first} of the variance)")
        axes.set_ylabel(f"second principal component ({second})")
        axes.set_title("Gradients by start epoch")
        axes.plot(*plane.values[-1].tolist(), "+", color=MUTED, markersize=11, label="no gradient")
        axes.legend()
    return figure


def _norms(shapes: GradientShapes) -> Figure:
    with drawing(6.0, 3.6) as figure:
        axes = figure.subplots()
        for number, path in enumerate(PATHS):
            norms, style = shapes.norms(path), series_style(number)
            mean, spread = norms.mean(0), norms.std(0, correction=0)
            axes.plot(shapes.starts, mean.tolist(), label=TITLES[path], **style)
            axes.fill_between(
                shapes.starts, (mean - spread).tolist(), (mean + spread).tolist(), color=style["color"], alpha=0.15
            )
        axes.set_xticks(shapes.starts)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("start epoch")
        axes.set_ylabel("norm of the gradient")
        axes.set_title("Gradient norms, mean and deviation over experts")
        axes.legend()
    return figure
