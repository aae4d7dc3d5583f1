"""A table of the paper beside what was measured here: means, differences, ranks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import correlation
from typing import Any

from pairstill.config import Protocol
from pairstill.report.grids import Grid
from pairstill.report.tables import RECALL_TITLES, Row, summarise
from pairstill.reproduce.paper import PaperRow


@dataclass(frozen=True)
class Line:
    """One row of the paper and what was measured for it.

    Attributes:
        row: the paper's row.
        ours: what was measured, or None.
        over: by how much our mean exceeds that of the reference row, or None.
        paper_over: the same in the paper.
        rank: place of our mean among the measured rows, the best at 1; ties share the mean of their places.
        paper_rank: place of the paper's mean among the same rows.
    """

    row: PaperRow
    ours: Row | None
    over: float | None = None
    paper_over: float | None = None
    rank: float | None = None
    paper_rank: float | None = None


def compare(
    rows: Sequence[PaperRow],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    reference: str | None,
    protocol: Protocol = "strict",
) -> list[Line]:
    """Return the lines of a table.

    Args:
        rows: the paper's rows.
        results: results by row name, one mapping for each student.
        reference: name of the row that others are compared with, or None.
        protocol: how our students are reported.
    """
    ours = {name: row_under(protocol, found) for name, found in results.items()}
    measured = [row for row in rows if ours.get(row.name) is not None]
    means = {row.name: _mean(ours[row.name]) for row in measured}
    papers = {row.name: row.mean for row in measured}
    ranks, paper_ranks = places(means), places(papers)
    lines = []
    for row in rows:
        name = row.name
        if name not in means:
            lines.append(Line(row, None))
            continue
        with_reference = reference in means
        lines.append(
            Line(
                row=row,
                ours=ours[name],
                over=means[name] - means[reference] if with_reference and reference else None,
                paper_over=papers[name] - papers[reference] if with_reference and reference else None,
                rank=ranks[name],
                paper_rank=paper_ranks[name],
            )
        )
    return lines


def row_under(protocol: Protocol, results: Iterable[Mapping[str, Any]]) -> Row | None:
    """Return the summary of a row's results under a protocol, or None without any.

    Raises:
        ValueError: the results are of several methods or sizes.
    """
    found = summarise([result for result in results if result["protocol"] == protocol])
    if len(found) > 1:
        raise ValueError(f"a row has results of {', '.join(f'{row.title} ({row.num_pairs})' for row in found)}")
    return found[0] if found else None


def places(values: Mapping[str, float]) -> dict[str, float]:
    """Return the place of each value, the largest at 1; equal ones share the mean of their places.

    Example:
        >>> places({"a": 3.0, "b": 5.0, "c": 3.0})
        {'a': 2.5, 'b': 1.0, 'c': 2.5}
    """
    every = list(values.values())
    return {
        name: sum(other > value for other in every) + (every.count(value) + 1) / 2 for name, value in values.items()
    }


def rank_agreement(lines: Sequence[Line]) -> float | None:
    """Return Spearman's correlation between our means and the paper's, or None for fewer than three different ranks."""
    both = [(line.rank, line.paper_rank) for line in lines if line.rank is not None and line.paper_rank is not None]
    ours, papers = [rank for rank, _ in both], [rank for _, rank in both]
    if min(len(set(ours)), len(set(papers))) < 3:
        return None
    return correlation(ours, papers)


def shown(lines: Sequence[Line], reference: str | None) -> Grid:
    """Return the lines for people: blank where nothing was measured, and without columns that no line fills.

    Args:
        lines: the lines.
        reference: title of the row that others are compared with, or None.
    """
    columns: dict[str, list[str]] = {"row": [line.row.title for line in lines]}
    columns["pairs"] = [f"{line.ours.num_pairs:,}" if line.ours else "" for line in lines]
    for key, title in RECALL_TITLES.items():
        columns[title] = [f"{line.ours.recalls[key]:.1f}" if line.ours else "" for line in lines]
    columns["mean"] = [_with_spread(line.ours) for line in lines]
    columns["paper"] = [f"{line.row.mean:.1f}" for line in lines]
    columns["difference"] = [_signed(line.ours.mean - line.row.mean) if line.ours else "" for line in lines]
    if reference is not None:
        columns[f"over {reference}"] = [_signed(line.over) for line in lines]
        columns["in the paper"] = [_signed(line.paper_over) for line in lines]
    columns["rank"] = ["" if line.rank is None else f"{line.rank:g}" for line in lines]
    columns["paper's rank"] = ["" if line.paper_rank is None else f"{line.paper_rank:g}" for line in lines]
    columns["students"] = [str(line.ours.students) if line.ours else "" for line in lines]
    return Grid(tuple(columns), tuple(zip(*columns.values(), strict=True)))


def as_data(lines: Sequence[Line]) -> Grid:
    """Return the lines for programs: plain numbers, each in a column of its own, blank where there is none."""
    recalls = list(RECALL_TITLES.items())
    header = ["row", "title", "group", "pairs", *(title for _, title in recalls), "mean", "std", "students"]
    header += [*(f"paper {title}" for _, title in recalls), "paper mean", "difference"]
    header += ["over reference", "paper over reference", "rank", "paper rank"]
    rows = []
    for line in lines:
        row, ours = line.row, line.ours
        cells: list[str | float | None] = [row.name, row.title, row.group]
        cells += [ours.num_pairs, *(ours.recalls[key] for key, _ in recalls)] if ours else [None] * (1 + len(recalls))
        cells += [ours.mean, ours.spread, ours.students] if ours else [None] * 3
        cells += list(row.values) if len(row.values) == len(recalls) else [None] * len(recalls)
        cells += [row.mean, ours.mean - row.mean if ours else None]
        cells += [line.over, line.paper_over, line.rank, line.paper_rank]
        rows.append(tuple(_plain(cell) for cell in cells))
    return Grid(tuple(header), tuple(rows))


def _mean(row: Row | None) -> float:
    assert row is not None
    return row.mean


def _with_spread(row: Row | None) -> str:
    if row is None:
        return ""
    return f"{row.mean:.1f}" if row.spread is None else f"{row.mean:.1f} ± {row.spread:.1f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}"


def _plain(cell: str | float | None) -> str:
    if cell is None:
        return ""
    return f"{round(cell, 4):g}" if isinstance(cell, float) else str(cell)
