"""Recall of several runs over bytes on disk, and by the students' encoders, as figures with their data."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from pairstill.core.formatting import human_bytes, printable
from pairstill.evaluate.results import Row
from pairstill.report.costs import RECALL, by_encoder, on_disk
from pairstill.report.figures import Cell, drawing, series_style
from pairstill.tools.compare.comparison import Group


def bytes_rows(rows: Sequence[Row]) -> list[dict[str, Cell]]:
    """Return recall and bytes on disk of the rows that know theirs, as the rows of a table."""
    return [
        {
            "row": row.title,
            "pairs": row.num_pairs,
            "disk_bytes": row.disk_bytes,
            "mean_recall": round(row.mean, 4),
            "over_students": None if row.spread is None else round(row.spread, 4),
        }
        for row in on_disk(rows)
    ]


def draw_bytes(rows: Sequence[Row]) -> Figure:
    """Draw recall over bytes on disk, on an axis of powers of ten: a point with its spread for each row."""
    with drawing(6.4, 3.8) as figure:
        axes = figure.subplots()
        for number, row in enumerate(on_disk(rows)):
            style = series_style(number)
            axes.errorbar([row.disk_bytes or 0], [row.mean], [row.spread or 0.0], capsize=3, linestyle="", **style)
            axes.plot([], [], linestyle="", label=printable(row.title), **style)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: human_bytes(round(value)).replace(".0", ""))
        axes.set_xlabel("bytes on disk")
        axes.set_ylabel(RECALL)
        axes.set_ylim(0)
        figure.legend(loc="outside right upper")
    return figure


def encoder_recalls(groups: Sequence[Group]) -> dict[str, dict[str, float]]:
    """Return the mean recall of each group whose students had other encoders, by these: `IMAGE + TEXT`."""
    found: dict[str, dict[str, float]] = {}
    for group in groups:
        by_text = by_encoder(result for run in group.runs for result in run.crossed)
        cells = {f"{i} + {text}": recall for text, of_text in by_text.items() for i, recall in of_text.items()}
        if cells:
            found[group.title] = cells
    return found


def encoder_rows(recalls: Mapping[str, Mapping[str, float]]) -> list[dict[str, Cell]]:
    """Return recalls by encoders as the rows of a table."""
    return [
        {"run": title, "encoders": encoders, "mean_recall": round(recall, 4)}
        for title, cells in recalls.items()
        for encoders, recall in cells.items()
    ]


def draw_encoders(recalls: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw recalls by the students' encoders: a row of points for each pair of encoders, a colour for each group."""
    encoders = list(dict.fromkeys(name for cells in recalls.values() for name in cells))
    with drawing(6.4, 1.2 + 0.35 * len(encoders)) as figure:
        axes = figure.subplots()
        for number, (title, cells) in enumerate(recalls.items()):
            places = [encoders.index(name) for name in cells]
            axes.plot(list(cells.values()), places, linestyle="", label=printable(title), **series_style(number))
        axes.set_yticks(range(len(encoders)), [printable(name) for name in encoders])
        axes.set_ylim(len(encoders) - 0.5, -0.5)
        axes.set_xlim(0)
        axes.set_xlabel(RECALL)
        figure.legend(loc="outside lower center", ncols=min(3, len(recalls)))
    return figure
