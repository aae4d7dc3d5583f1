"""The table of a sweep: recall by row, with its mean over seeds, as Markdown, CSV and JSON lines."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pairstill.core.formatting import counted, with_spread
from pairstill.distilled import stored_pairs
from pairstill.evaluate.ledger import FILES, Ledger
from pairstill.evaluate.measurement import current
from pairstill.evaluate.results import RECALL_KEYS, Row, summarise
from pairstill.methods import with_method
from pairstill.report.grids import Grid, grid_csv, grid_markdown
from pairstill.report.tables import RECALL_TITLES, SIZE_HEADER, size_cells
from pairstill.run.folder import other_settings
from pairstill.storage import write_text_atomic
from pairstill.tools.sweep.grid import Cell
from pairstill.tools.sweep.rows import Rows, SweepRow
from pairstill.tools.sweep.state import RowState

MEAN = "mean_recall"
ABOUT = (
    "Recalls on the test split in percent: the mean over seeds, of each the mean over its students. Over seeds and "
    "over students: standard deviations of the mean recall."
)


@dataclass(frozen=True)
class Line:
    """What is measured of a combination of values: one method, protocol and image tower, over its seeds.

    Attributes:
        cell: the combination.
        row: the summary of all students, or None where nothing is measured.
        by_seed: the results of each seed.
    """

    cell: Cell
    row: Row | None
    by_seed: Mapping[int, Sequence[Mapping[str, Any]]]

    def recall(self, key: str) -> float | None:
        """Return the mean over seeds of a recall, of each the mean over its students; None without any."""
        return mean(self._means(key)) if self.by_seed else None

    @property
    def over_seeds(self) -> float | None:
        """Standard deviation of the mean recall over seeds, or None for a single one."""
        return stdev(self._means(MEAN)) if len(self.by_seed) > 1 else None

    def _means(self, key: str) -> list[float]:
        return [mean(result[key] for result in those) for those in self.by_seed.values()]


@dataclass(frozen=True)
class Measured:
    """What the rows' runs hold.

    Attributes:
        results: by row, one mapping for each student and protocol.
        left_out: a sentence for each run that does not count, with the reason.
    """

    results: Mapping[SweepRow, Sequence[dict[str, Any]]]
    left_out: tuple[str, ...]


def measured(rows: Rows) -> Measured:
    """Return the results of the rows' runs that were measured as their settings say.

    Raises:
        ArtifactError: a run's settings or results cannot be read.
    """
    found: dict[SweepRow, list[dict[str, Any]]] = {}
    left_out = []
    for row in rows.rows:
        folder, config = Path(row.config.run_dir), with_method(row.config)
        if not (folder / FILES["retrieval"]).is_file():
            continue
        if differing := other_settings(folder / "config.yaml", config):
            left_out.append(f"{row.name}: {folder} has other settings, {'; '.join(differing)}")
            continue
        facts = [record.facts for record in Ledger("retrieval", folder).records()]
        found[row] = current(config, facts, stored_pairs(folder / "distilled"))
    return Measured(found, tuple(left_out))


def write_tables(rows: Rows, states: Mapping[SweepRow, RowState], folder: Path) -> str:
    """Write the table of what is measured so far as table.md, .csv and .jsonl, and return the first.

    Args:
        rows: of the sweep.
        states: how far each row is.
        folder: receives the files.
    """
    found = measured(rows)
    lines = lines_of(rows, found.results)
    done = sum(state.stage == "done" for state in states.values())
    parts = [f"{done} of {counted(len(states), 'run')} are done. {ABOUT}\n", grid_markdown(_shown(rows, lines))]
    parts += [*_failures(states), *_left_out(found.left_out), *_other_test_data(found.results)]
    page = "\n".join(parts)
    results = [{"row": row.cell.name, **each} for row, those in found.results.items() for each in those]
    write_text_atomic(folder / "table.md", page)
    write_text_atomic(folder / "table.csv", grid_csv(_as_data(rows, lines)))
    write_text_atomic(folder / "table.jsonl", "".join(json.dumps(result) + "\n" for result in results))
    return page


def lines_of(rows: Rows, results: Mapping[SweepRow, Sequence[dict[str, Any]]]) -> list[Line]:
    """Return the lines of the table: every method, protocol and tower of each combination, or one without numbers."""
    lines = []
    for cell in rows.cells:
        of_cell = [(row.seed, each) for row, those in results.items() if row.cell == cell for each in those]
        groups: dict[tuple[Any, ...], list[tuple[int, dict[str, Any]]]] = {}
        for seed, result in of_cell:
            key = tuple(result.get(name) for name in ("method", "num_pairs", "protocol", "tower"))
            groups.setdefault(key, []).append((seed, result))
        for members in groups.values():
            (row,) = summarise(result for _, result in members)
            by_seed: dict[int, list[dict[str, Any]]] = {}
            for seed, result in members:
                by_seed.setdefault(seed, []).append(result)
            lines.append(Line(cell, row, by_seed))
        if not groups:
            lines.append(Line(cell, None, {}))
    return lines


def _shown(rows: Rows, lines: Sequence[Line]) -> Grid:
    """Return the table for people: a column for each axis, and numbers rounded."""
    several = len({line.row.protocol for line in lines if line.row}) > 1
    columns = _values(rows, lines)
    columns["method"] = [line.row.title if line.row else "" for line in lines]
    columns["pairs"] = [f"{line.row.num_pairs:,}" if line.row else "" for line in lines]
    if several:
        columns["protocol"] = [line.row.protocol if line.row else "" for line in lines]
    for key, title in RECALL_TITLES.items():
        columns[title] = [with_spread(line.recall(key), None) for line in lines]
    columns["mean"] = [with_spread(line.recall(MEAN), None) for line in lines]
    columns["over seeds"] = [_deviation(line.over_seeds) for line in lines]
    columns["over students"] = [_deviation(line.row.spreads.students) if line.row else "" for line in lines]
    for number, title in enumerate(SIZE_HEADER):
        columns[title] = [size_cells(line.row.bytes, line.row.disk_bytes)[number] if line.row else "" for line in lines]
    total = len(rows.rows) // len(rows.cells)
    columns["seeds"] = [f"{len(line.by_seed)} of {total}" for line in lines]
    return Grid(tuple(columns), tuple(zip(*columns.values(), strict=True)))


def _as_data(rows: Rows, lines: Sequence[Line]) -> Grid:
    """Return the table for programs: plain numbers, blank where there is none."""
    columns = {"row": [line.cell.name for line in lines], **_values(rows, lines)}
    columns["method"] = [line.row.title if line.row else "" for line in lines]
    columns["pairs"] = [str(line.row.num_pairs) if line.row else "" for line in lines]
    columns["protocol"] = [line.row.protocol if line.row else "" for line in lines]
    for key in RECALL_KEYS:
        columns[key] = [_plain(line.recall(key)) for line in lines]
    columns["mean"] = [_plain(line.recall(MEAN)) for line in lines]
    columns["std over seeds"] = [_plain(line.over_seeds) for line in lines]
    columns["std over students"] = [_plain(line.row.spreads.students) if line.row else "" for line in lines]
    columns["bytes"] = [str(line.row.bytes) if line.row else "" for line in lines]
    columns["disk bytes"] = [str(line.row.disk_bytes or "") if line.row else "" for line in lines]
    columns["seeds"] = [str(len(line.by_seed)) for line in lines]
    columns["students"] = [str(line.row.students) if line.row else "" for line in lines]
    return Grid(tuple(columns), tuple(zip(*columns.values(), strict=True)))


def _values(rows: Rows, lines: Sequence[Line]) -> dict[str, list[str]]:
    """Return a column for each axis, or one with the row's name."""
    if not rows.axes:
        return {"row": [line.cell.name for line in lines]}
    return {axis.short: [line.cell.values[number] for line in lines] for number, axis in enumerate(rows.axes)}


def _failures(states: Mapping[SweepRow, RowState]) -> list[str]:
    failed = {row: state for row, state in states.items() if state.stage == "failed"}
    if not failed:
        return []
    lines = [f"- {row.name}: {state.why}" for row, state in failed.items()]
    return ["Failed; --retry takes these again:\n", *lines, ""]


def _left_out(left_out: Sequence[str]) -> list[str]:
    if not left_out:
        return []
    reason = "Left out: these runs have other settings than their rows have now; delete them to measure the rows anew."
    return [f"{reason}\n", *(f"- {each}" for each in left_out), ""]


def _other_test_data(results: Mapping[SweepRow, Sequence[dict[str, Any]]]) -> list[str]:
    tested = {str(result["test_data"]) for those in results.values() for result in those if "test_data" in result}
    if len(tested) < 2:
        return []
    return [f"The rows were measured on {len(tested)} different test sets: do not compare across them.\n"]


def _deviation(value: float | None) -> str:
    return "" if value is None else f"± {value:.1f}"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{round(value, 4):g}"
