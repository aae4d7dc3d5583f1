"""A reproduced table as files: Markdown for people, LaTeX for papers, CSV and JSON lines for programs."""

import json
from collections.abc import Sequence
from pathlib import Path

from pairstill.config import RunConfig
from pairstill.report.grids import grid_csv, grid_latex, grid_markdown
from pairstill.storage import write_text_atomic
from pairstill.tools.reproduce.columns import as_data, shown
from pairstill.tools.reproduce.comparison import Line, compare, rank_agreement
from pairstill.tools.reproduce.measured import Measured
from pairstill.tools.reproduce.paper import PaperTable
from pairstill.tools.reproduce.scales import PAIRS, STEPS
from pairstill.tools.reproduce.settings import Scale


def write_table(table: PaperTable, scale: Scale, base: RunConfig | None, measured: Measured, folder: Path) -> str:
    """Write a table as TABLE.md, .csv, .tex and .jsonl, and return the first.

    Args:
        table: the paper's table.
        scale: where its rows were measured.
        base: what rows at this scale are made from; None takes them as they are.
        measured: results by row name, and what does not count.
        folder: receives the files.
    """
    rows = [row for row in table.rows if base is None or row.group in table.scaled]
    reference = None if base is None else table.reference
    lines = compare(rows, measured.results, reference, "paper" if base is None else "strict")
    title = next((row.title for row in rows if row.name == reference), None)
    grid = shown(lines, title)
    caption = f"{table.number} of the paper{'' if base is None else f', scaled down to {scale}'}: {table.title}"
    about = _about(table, base)
    page = "\n".join([f"# {caption}\n", *(f"{part}\n" for part in about), grid_markdown(grid), _agreement(lines)])
    page = "\n".join([page, *left_out_lines(measured.left_out)])
    write_text_atomic(folder / f"{table.name}.md", page)
    write_text_atomic(folder / f"{table.name}.csv", grid_csv(as_data(lines)))
    write_text_atomic(folder / f"{table.name}.tex", grid_latex(grid, f"{caption}. {about[0]}"))
    found = [{"row": name, **result} for name, of_row in measured.results.items() for result in of_row]
    write_text_atomic(folder / f"{table.name}.jsonl", "".join(json.dumps(result) + "\n" for result in found))
    return page


def left_out_lines(left_out: Sequence[str]) -> list[str]:
    """Say which runs are not in a table, and why; nothing when all are."""
    if not left_out:
        return []
    reason = (
        "Left out: these runs have other settings than their rows have now; delete them to measure their rows anew."
    )
    return [f"{reason}\n", *(f"- {each}" for each in left_out), ""]


def _about(table: PaperTable, base: RunConfig | None) -> list[str]:
    """Say what the numbers are and what they are not, the most important first."""
    numbers = "Recalls on the test split in percent; mean and standard deviation over students"
    if base is None:
        return [
            f"{numbers}. Settings and protocol are the paper's: each student's best epoch on the test split, which is "
            "optimistic; rates are chosen on validation. Beside it: what was chosen on the test split, and "
            "how often that was read for a student; and, of the same students, the epoch that validation chooses (by "
            "validation, which is the protocol strict)."
        ]
    return [
        "The absolute numbers are of another dataset than the paper's, with other towers and fewer pairs. Compare "
        "ranks and differences between rows; the column difference tells two settings apart, not two measurements of "
        "one thing.",
        f"{numbers}, protocol strict: the epoch that validation chooses. Best on test is the paper's protocol, of the "
        f"same students, and optimism by how much it is more; beside them stands what was chosen on the test split and "
        f"how often that was read for a student. The paper's column is of {' and '.join(table.scaled)}.",
        _base(base),
    ]


def _base(base: RunConfig) -> str:
    """Say what every row has in common."""
    data = "embedded scenes" if base.data.source == "scenes" else Path(base.data.root or "").name
    distill, first = base.matching, base.matching.features_first
    steps = f"{distill.phases[0].outer_steps} on pixels"
    if first.steps:
        found = f"{first.inversion_steps} steps that find their pixels"
        steps = f"{first.steps} on features (features first), {found}, and {steps}"
    return "\n".join(
        [
            f"- data: {data}",
            f"- towers: {base.image.name}, {'trained' if base.image.trains else 'frozen'}; {base.text.name}, frozen",
            f"- pairs: {distill.num_pairs + 1} for the paper's {PAIRS}, one of which pays for the similarities",
            f"- similarities: {distill.similarity.kind}, in LoRS too",
            f"- InfoNCE: the {base.info_nce} of both directions",
            f"- steps for the paper's {STEPS:,} of a phase: {steps}; nothing is validated on the way",
            f"- outer optimiser: {distill.outer.optimizer}, {distill.trajectories_per_step} starts a step, "
            f"average with decay {distill.ema_decay}",
        ]
    )


def _agreement(lines: Sequence[Line]) -> str:
    measured = sum(line.ours is not None for line in lines)
    found = rank_agreement(lines)
    counted = f"{measured} of {len(lines)} rows are measured."
    if found is None:
        return f"{counted}\n"
    return f"{counted} The order of their means and the paper's: Spearman's correlation {found:.2f}.\n"
