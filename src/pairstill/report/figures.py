"""The house style of figures, and their files: PNG and SVG with the data as CSV.

Light background; colours of Okabe and Ito, which people with any colour vision tell apart, and a marker for each
series as well. The same figure gives the same bytes: no dates, no random names.
"""

import csv
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from pairstill.storage import write_bytes_atomic

Cell = str | int | float | None
"""One value of a figure's data; None is an empty cell."""

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#4d4d4d")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, MUTED, GRID = "#222222", "#5f5f5f", "#e3e3e3"

# viridis without the yellow end, which is too light for lines on white
ORDERED = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, 256)), "ordered")
"""Colours for what has an order, such as epochs."""
SIGNED = matplotlib.colormaps["PuOr_r"]
"""Colours for values from -1 to 1, white in the middle."""

_STYLE: Any = {
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "savefig.facecolor": "white",
    "savefig.dpi": 144,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=PALETTE),
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    # paths and names are in labels, and none of them is a formula
    "text.parse_math": False,
    # text stays text: it can be searched, read aloud and set in the reader's font
    "svg.fonttype": "none",
    "svg.hashsalt": "pairstill",
}


@dataclass(frozen=True)
class FigureFiles:
    """The files of one figure.

    Attributes:
        png: the picture in pixels.
        svg: the picture as shapes and text.
        csv: the data that it shows.
    """

    png: Path
    svg: Path
    csv: Path


@contextmanager
def drawing(width: float = 6.4, height: float = 3.8) -> Iterator[Figure]:
    """Yield an empty figure of the house; what is drawn inside the block takes its style.

    Args:
        width: in inches.
        height: in inches.

    Example:
        >>> with drawing(4, 3) as figure:
        ...     _ = figure.subplots().plot([1, 2], [3, 4], **series_style(0))
    """
    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def series_style(number: int) -> dict[str, Any]:
    """Return colour and marker of a series, by its number from 0; both differ, for those who see no colours."""
    return {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[number % len(MARKERS)]}


def save_figure(figure: Figure, stem: Path, rows: Sequence[Mapping[str, Cell]]) -> FigureFiles:
    """Write a figure as `stem`.png and `stem`.svg, and what it shows as `stem`.csv, each atomically.

    Args:
        figure: drawn inside `drawing`.
        stem: path without a suffix; a dot in its name stays.
        rows: the data, one mapping per line, all with the same keys.

    Raises:
        ValueError: there are no rows, or they have different keys: a figure without its data is not kept.
    """
    return write_figure(render_figure(figure, rows), stem)


def render_figure(figure: Figure, rows: Sequence[Mapping[str, Cell]]) -> dict[str, bytes]:
    """Return the content of a figure's files by suffix; see `save_figure`.

    Raises:
        ValueError: there are no rows, or they have different keys.
    """
    content = {"csv": to_csv(rows).encode()}
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of a path in Chinese, say: SVG keeps its text
        for suffix, metadata in (("png", {"Software": "pairstill"}), ("svg", {"Date": None, "Creator": None})):
            stream = io.BytesIO()
            figure.savefig(stream, format=suffix, metadata=metadata)
            content[suffix] = stream.getvalue()
    return content


def write_figure(content: Mapping[str, bytes], stem: Path) -> FigureFiles:
    """Write what `render_figure` returned as `stem`.png and so on, each atomically."""
    files = FigureFiles(*(stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg", "csv")))
    for path in (files.png, files.svg, files.csv):
        write_bytes_atomic(path, content[path.suffix[1:]])
    return files


def to_csv(rows: Sequence[Mapping[str, Cell]]) -> str:
    r"""Return rows as CSV with a header.

    Raises:
        ValueError: there are no rows, or they have different keys.

    Example:
        >>> to_csv([{"epoch": 1, "recall": 2.5}, {"epoch": 2, "recall": None}])
        'epoch,recall\n1,2.5\n2,\n'
    """
    if not rows:
        raise ValueError("a figure's data has no rows; give what it shows")
    columns = list(rows[0])
    for number, row in enumerate(rows):
        if list(row) != columns:
            raise ValueError(f"row {number} of a figure's data has the columns {list(row)}, the first has {columns}")
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def draw_matrix(
    axes: Axes,
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    limits: tuple[float, float] = (-1.0, 1.0),
    form: str = ".2f",
) -> QuadMesh:
    """Draw a matrix as coloured cells with their values written in, first row on top, and return the cells.

    Args:
        axes: where to draw.
        values: (rows, columns).
        rows: a label for each row.
        columns: a label for each column.
        limits: the values at the ends of the colours; `SIGNED` if they are symmetric, `ORDERED` if not.
        form: format of the values.
    """
    low, high = limits
    colours = SIGNED if low == -high else ORDERED
    cells = axes.pcolormesh(np.array(values), cmap=colours, vmin=low, vmax=high, edgecolors="white", linewidth=0.8)
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            red, green, blue, _ = colours((value - low) / (high - low))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            axes.text(
                j + 0.5, i + 0.5, format(value, form), ha="center", va="center", size=7, color="white" if dark else INK
            )
    axes.set_xticks([j + 0.5 for j in range(len(columns))], columns)
    axes.set_yticks([i + 0.5 for i in range(len(rows))], rows)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    return cells
