"""The results of `transfer`: what each set teaches behind each pair of encoders, and the share of their full data."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pairstill.core.formatting import with_spread
from pairstill.evaluate.ledger import FILES
from pairstill.evaluate.measurement import crossed
from pairstill.report.costs import short
from pairstill.report.tables import SIZE_HEADER, markdown_table, size_cells
from pairstill.storage import write_text_atomic
from pairstill.tools.reproduce.measured import Measured, measured_runs, results_of
from pairstill.tools.reproduce.pages import left_out_lines
from pairstill.tools.reproduce.rows import Load, Row
from pairstill.tools.reproduce.settings import Reproduction
from pairstill.tools.reproduce.transfer import FULL, KINDS, SIZES, TEXTS, TOWERS

OF_ONE_MACHINE = ("config", "ranks")
"""Parts of results that name files, which mean nothing elsewhere."""

Result = Mapping[str, Any]


def transfer_results(rows: Sequence[Row], settings: Reproduction, out: Path, load: Load) -> Measured:
    """Return the results of all rows, with the students' encoders; see `results_of`.

    Of several measurements of a student on the same pairs the last counts.
    """
    full = results_of([row for row in rows if row.students is None], settings, out, load)
    found, left_out = dict(full.results), list(full.left_out)
    for row in (row for row in rows if row.students is not None):
        for run in measured_runs(row, "cross", settings, out, load, left_out):
            found.setdefault(row.name, []).extend(crossed(run.facts, run.pairs))
    return Measured(found, tuple(left_out))


def lines_of(measured: Measured) -> list[dict[str, Any]]:
    """Return the results of all rows, each with its row's name, without what means nothing on another machine."""
    return [
        {"row": name, **{key: value for key, value in result.items() if key not in OF_ONE_MACHINE}}
        for name, of_row in measured.results.items()
        for result in of_row
    ]


def write_transfer(measured: Measured, folder: Path) -> str:
    """Write all results as results.jsonl, and their tables as results.md, and return the latter."""
    lines = lines_of(measured)
    write_text_atomic(folder / FILES["retrieval"], "".join(json.dumps(line) + "\n" for line in lines))
    page = "\n".join([*transfer_tables(lines), *left_out_lines(measured.left_out)])
    write_text_atomic(folder / "results.md", page)
    return page


def transfer_tables(lines: Iterable[Result]) -> list[str]:
    """Return a table for each text encoder that anything was measured with, in Markdown.

    A row is a set, or full data; a column is a student's image tower, with mean recall, spread over students, and the
    share of that student's own full data.

    Args:
        lines: as `lines_of` gives them.
    """
    lines = list(lines)
    return [f"### {text}\n\n{_table(lines, text)}" for text in TEXTS if any(_text(line) == text for line in lines)]


def recalls_of(lines: Iterable[Result], text: str) -> dict[tuple[str, str], float]:
    """Return the mean recall over students with a text encoder, by set (KIND/PAIRS, or `full`) and image tower."""
    return {key: mean(_means(found)) for key, found in _grouped(lines, text).items()}


def _grouped(lines: Iterable[Result], text: str) -> dict[tuple[str, str], list[Result]]:
    found: dict[tuple[str, str], list[Result]] = {}
    for line in lines:
        if _text(line) == text:
            found.setdefault((_set(line), _tower(line)), []).append(line)
    return found


def _table(lines: Sequence[Result], text: str) -> str:
    found, recalls = _grouped(lines, text), recalls_of(lines, text)
    titles = {f"{kind.name}/{pairs}": (str(pairs), kind.title) for pairs in SIZES for kind in KINDS}
    body = []
    for name, first in {FULL: ("", "full data"), **titles}.items():
        of_set = {tower: members for tower in TOWERS if (members := found.get((name, tower)))}
        if of_set:
            known = next(iter(of_set.values()))[0]
            whole = {} if name == FULL else {tower: recalls.get((FULL, tower)) for tower in TOWERS}
            cells = [_cell(of_set.get(tower, ()), whole.get(tower)) for tower in TOWERS]
            body.append([*first, *cells, *size_cells(known["bytes"], known.get("disk_bytes"))])
    return markdown_table(["pairs", "made of", *TOWERS, *SIZE_HEADER], body, words=2)


def _set(line: Result) -> str:
    row = str(line["row"])
    return FULL if row.startswith(f"{FULL}/") else row


def _tower(line: Result) -> str:
    """Return the name of a student's image tower."""
    return str(line["row"]).split("/")[1] if _set(line) == FULL else short(line["image"])


def _text(line: Result) -> str:
    """Return the name of a student's text encoder."""
    return str(line["row"]).split("/")[2] if _set(line) == FULL else short(line["text"])


def _means(found: Sequence[Result]) -> list[float]:
    return [result["mean_recall"] for result in found]


def _cell(found: Sequence[Result], full: float | None) -> str:
    if not found:
        return ""
    means = _means(found)
    recall = with_spread(mean(means), stdev(means) if len(means) > 1 else None)
    share = "" if full is None else f" ({100 * mean(means) / full:.0f} %)"
    return f"{recall}{' *' * bool(found[0].get('own_images'))}{share}"
