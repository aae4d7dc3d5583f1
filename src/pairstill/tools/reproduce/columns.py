"""A reproduced table's columns, for people and for programs."""

from collections.abc import Sequence
from dataclasses import fields

from pairstill.config import EvaluationProtocol
from pairstill.core.formatting import with_spread
from pairstill.evaluate.results import Row
from pairstill.evaluate.spread import Spread
from pairstill.report.grids import Grid
from pairstill.report.tables import (
    RECALL_TITLES,
    SIZE_HEADER,
    TEST_HEADER,
    chosen_on_test,
    reads_of_test,
    size_cells,
)
from pairstill.tools.reproduce.comparison import Line

OTHER_TITLES: dict[EvaluationProtocol, str] = {"strict": "best on test", "paper": "by validation"}
"""What the column of the other protocol is called."""
SOURCES = tuple(field.name for field in fields(Spread))
"""The sources of chance, each of which has a spread of its own."""


def shown(lines: Sequence[Line], reference: str | None) -> Grid:
    """Return the lines for people: blank where nothing was measured.

    The other protocol has columns where any row was measured by both, and the spread over distillations and over
    teachers where any row varied them.

    Args:
        lines: the lines.
        reference: title of the row that others are compared with, or None.
    """
    columns: dict[str, list[str]] = {"row": [line.row.title for line in lines]}
    columns["pairs"] = [f"{line.ours.num_pairs:,}" if line.ours else "" for line in lines]
    for key, title in RECALL_TITLES.items():
        columns[title] = [f"{line.ours.recalls[key]:.1f}" if line.ours else "" for line in lines]
    columns["mean"] = [_mean(line.ours) for line in lines]
    columns |= _spreads(lines) | _other_protocol(lines) | _test(lines)
    columns["paper"] = [f"{line.row.mean:.1f}" for line in lines]
    columns["difference"] = [_signed(line.ours.mean - line.row.mean) if line.ours else "" for line in lines]
    if reference is not None:
        columns[f"over {reference}"] = [_signed(line.over) for line in lines]
        columns["in the paper"] = [_signed(line.paper_over) for line in lines]
    columns["rank"] = ["" if line.rank is None else f"{line.rank:g}" for line in lines]
    columns["paper's rank"] = ["" if line.paper_rank is None else f"{line.paper_rank:g}" for line in lines]
    for number, title in enumerate(SIZE_HEADER):
        columns[title] = [
            size_cells(line.ours.bytes, line.ours.disk_bytes)[number] if line.ours else "" for line in lines
        ]
    columns["students"] = [str(line.ours.students) if line.ours else "" for line in lines]
    return Grid(tuple(columns), tuple(zip(*columns.values(), strict=True)))


def as_data(lines: Sequence[Line]) -> Grid:
    """Return the lines for programs: plain numbers, each in a column of its own, blank where there is none."""
    recalls = list(RECALL_TITLES.items())
    header = ["row", "title", "group", "pairs", *(title for _, title in recalls), "mean", "std", "students"]
    header += [f"std over {source}" for source in SOURCES]
    header += ["protocol", "other protocol mean", "other protocol std", "optimism", *TEST_HEADER]
    header += [*(f"paper {title}" for _, title in recalls), "paper mean", "difference"]
    header += ["over reference", "paper over reference", "rank", "paper rank", "bytes", "disk bytes"]
    rows = []
    for line in lines:
        row, ours, other = line.row, line.ours, line.other
        cells: list[str | float | None] = [row.name, row.title, row.group]
        cells += [ours.num_pairs, *(ours.recalls[key] for key, _ in recalls)] if ours else [None] * (1 + len(recalls))
        cells += [ours.mean, ours.spread, ours.students] if ours else [None] * 3
        cells += [getattr(ours.spreads, source) for source in SOURCES] if ours else [None] * len(SOURCES)
        cells += [ours.protocol if ours else None]
        cells += [other.mean, other.spread, line.optimism] if other else [None] * 3
        cells += [chosen_on_test(line.on_test), line.on_test.test_reads] if line.on_test else [None] * len(TEST_HEADER)
        cells += list(row.values) if len(row.values) == len(recalls) else [None] * len(recalls)
        cells += [row.mean, ours.mean - row.mean if ours else None]
        cells += [line.over, line.paper_over, line.rank, line.paper_rank]
        cells += [ours.bytes, ours.disk_bytes] if ours else [None] * 2
        rows.append(tuple(_plain(cell) for cell in cells))
    return Grid(tuple(header), tuple(rows))


def _spreads(lines: Sequence[Line]) -> dict[str, list[str]]:
    """Return a column for every source of chance that any row varied, besides students alone."""
    of_row = [line.ours.spreads if line.ours else None for line in lines]
    columns = {
        f"over {source}": [_deviation(getattr(spreads, source)) if spreads else "" for spreads in of_row]
        for source in SOURCES
    }
    filled = {name: cells for name, cells in columns.items() if any(cells)}
    return filled if len(filled) > 1 else {}


def _other_protocol(lines: Sequence[Line]) -> dict[str, list[str]]:
    """Return the columns of the other protocol, or none where no row has it."""
    measured = next((line.ours for line in lines if line.ours and line.other), None)
    if measured is None:
        return {}
    return {
        OTHER_TITLES[measured.protocol]: [_mean(line.other) for line in lines],
        "optimism": [_signed(line.optimism) for line in lines],
    }


def _test(lines: Sequence[Line]) -> dict[str, list[str]]:
    """Return what was chosen on the test split and how often that was read, or none where no row was reported so."""
    rows = [line.on_test for line in lines]
    if not any(rows):
        return {}
    texts = ([said(row) if row else "" for row in rows] for said in (chosen_on_test, reads_of_test))
    return dict(zip(TEST_HEADER, texts, strict=True))


def _mean(row: Row | None) -> str:
    return "" if row is None else with_spread(row.mean, row.spread)


def _deviation(value: float | None) -> str:
    return "" if value is None else f"± {value:.1f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}"


def _plain(cell: str | float | None) -> str:
    if cell is None:
        return ""
    return f"{round(cell, 4):g}" if isinstance(cell, float) else str(cell)
