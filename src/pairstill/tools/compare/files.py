"""A comparison as files: tables as Markdown and JSON, figures with their data."""

from pathlib import Path

from pairstill.core.errors import ArtifactError
from pairstill.core.formatting import printable
from pairstill.evaluate.measurement import RANDOM_SELECTED
from pairstill.evaluate.results import TITLES
from pairstill.report.curves import curve_points
from pairstill.report.figures import render_figure, write_figure
from pairstill.report.tables import SPREAD_HEADER, SPREAD_NOTE, markdown, markdown_table, spread_cells
from pairstill.storage import read_json, write_json, write_text_atomic
from pairstill.storage.owned import refuse_others
from pairstill.tools.compare.comparison import Comparison
from pairstill.tools.compare.costs import bytes_rows, draw_bytes, draw_encoders, encoder_recalls, encoder_rows
from pairstill.tools.compare.curves import curve_rows, draw_curves
from pairstill.tools.compare.differences import NOTE

COMPARISON = "comparison.json"

EXPLANATION = (
    "Differences of the mean recall in percentage points with 95 % intervals and two-sided p, by a paired bootstrap: "
    "{resamples:,} resamples of the test images, the same for both rows, and of teachers, distillations and students "
    "where a row has several. Of a row with one distillation nothing is said beyond that one; with two or three, "
    "intervals are too narrow rather than too wide."
)

RANDOMS = (
    f"{TITLES[RANDOM_SELECTED]!r} is a run of the method random, whose pairs are drawn once; {TITLES['random']!r} "
    "draws other pairs for every student."
)


def explanation(comparison: Comparison, resamples: int) -> str:
    """Return what the differences mean, and what is what where there are two kinds of random pairs."""
    text = EXPLANATION.format(resamples=resamples)
    drawn_once = any(group.first.made == RANDOM_SELECTED for group in comparison.groups)
    return f"{text} {RANDOMS}" if drawn_once else text


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write `comparison.md` and `comparison.json`, and figures in PNG, SVG and CSV.

    These are the runs' `curves`, `recall_by_bytes` on disk, and `recall_by_encoder`. Runs without a distillation have
    no curves, those of older versions do not know their bytes, and few have students with other encoders; a figure
    that would show nothing is not written.
    """
    curves = {
        group.title if len(group.runs) == 1 else f"{group.title}, {run.path}": points
        for group in comparison.groups
        for run in group.runs
        if (points := curve_points(run.events))
    }
    # before any file is written
    figures = {"curves": render_figure(draw_curves(curves), curve_rows(curves))} if curves else {}
    if len(on_disk := bytes_rows(comparison.rows)) > 1:
        figures["recall_by_bytes"] = render_figure(draw_bytes(comparison.rows), on_disk)
    if recalls := encoder_recalls(comparison.groups):
        figures["recall_by_encoder"] = render_figure(draw_encoders(recalls), encoder_rows(recalls))
    write_json(folder / COMPARISON, comparison.to_json())
    write_text_atomic(folder / "comparison.md", page(comparison))
    for name, figure in figures.items():
        write_figure(figure, folder / name)


def refuse_other_folder(folder: Path) -> None:
    """Refuse a folder that is neither empty nor holds a comparison.

    Raises:
        ConfigError: it holds something else.
    """
    refuse_others(folder, "a comparison", "out", _holds_comparison)


def _holds_comparison(folder: Path) -> bool:
    try:
        found = read_json(folder / COMPARISON)
    except ArtifactError:
        return False
    return isinstance(found, dict) and found.keys() >= {"runs", "rows", "differences"}


def page(comparison: Comparison) -> str:
    """Return the tables and sentences of a comparison as Markdown."""
    spreads = markdown_table(SPREAD_HEADER, map(spread_cells, comparison.rows))
    sentences = "".join(f"- {contest.protocol}: {printable(contest.sentence)}\n" for contest in comparison.contests)
    if comparison.contests:
        sentences += f"\n{explanation(comparison, comparison.contests[0].difference.resamples)}\n"
    differing = "".join(f"- {line}\n" for line in comparison.differing)
    caution = f"\n{comparison.caution}.\n" if comparison.caution else ""
    table = markdown(comparison.rows) + caution + (f"\n{NOTE}\n\n{differing}" if differing else "")
    return f"{table}\n## Spread\n\n{spreads}\n{SPREAD_NOTE}\n\n## Differences\n\n{sentences}"
