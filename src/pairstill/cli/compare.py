"""`pairstill compare`: several runs side by side."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser, settings_of_run
from pairstill.cli.runs import recall_title, show_table
from pairstill.core.errors import ConfigError
from pairstill.core.extras import need
from pairstill.core.formatting import printable

if TYPE_CHECKING:
    from pairstill.tools.compare.comparison import Comparison

NAME = "compare"
TEXT = "put measured runs side by side: one table, which methods differ (paired bootstrap), and their curves"
RESAMPLES = 10_000


def _parser(_: Sequence[str]) -> ArgumentParser:
    parser = plain_parser(NAME, TEXT)
    parser.add_argument("runs", nargs="+", type=str, help="folders of measured runs; those alike but for seeds are one")
    parser.add_argument("--out", type=str, default=None, help="folder for the tables and the curves (PNG, SVG, CSV)")
    parser.add_argument(
        "--resamples",
        type=int,
        default=RESAMPLES,
        help="for the intervals: of the test images, and of what a row has several of",
    )
    parser.add_argument("--json", action="store_true", help="print the comparison as one JSON object")
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    need("matplotlib", "compare")
    from pairstill.core.rng import make_generator
    from pairstill.tools.compare.comparison import compare
    from pairstill.tools.compare.files import refuse_other_folder, write_comparison
    from pairstill.tools.compare.runs import open_run

    if options.resamples < 1:
        raise ConfigError(f"resamples is {options.resamples}; it must be above 0")
    if options.out is not None:
        refuse_other_folder(Path(options.out))
    runs = [open_run(Path(run), settings_of_run(Path(run))) for run in options.runs]
    comparison = compare(runs, options.resamples, make_generator("compare"))
    if options.out is not None:
        write_comparison(comparison, Path(options.out))
    if options.json:
        print(json.dumps(comparison.to_json()))
    else:
        _show(comparison, options)
    return 0


def _show(comparison: "Comparison", options: Namespace) -> None:
    from pairstill.report.tables import SPREAD_HEADER, SPREAD_NOTE, cells, header, spread_cells
    from pairstill.tools.compare.differences import NOTE
    from pairstill.tools.compare.files import explanation

    rows = comparison.rows
    columns = header(rows)
    protocols = dict.fromkeys(row.protocol for row in rows)
    show_table(recall_title(tuple(protocols)), columns, (cells(row, columns) for row in rows))
    if comparison.caution:
        print(f"{comparison.caution}.\n")
    if comparison.differing:
        print("\n".join((NOTE, *comparison.differing, "")))
    show_table("Where the spread comes from", SPREAD_HEADER, map(spread_cells, rows))
    print(SPREAD_NOTE + "\n")
    for contest in comparison.contests:
        print(f"{contest.protocol}: {printable(contest.sentence)}")
    print("\n" + explanation(comparison, options.resamples))
    if options.out is None:
        print("Give --out FOLDER for the curves, and the tables as files")
    else:
        print(f"The tables and curves are in {printable(options.out)}")


COMMAND = Command(NAME, TEXT, _parser, _run)
