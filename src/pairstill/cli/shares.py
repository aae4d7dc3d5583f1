"""`pairstill shares`: what a run's gain over Random is made of."""

import json
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser, settings_of_run
from pairstill.cli.runs import open_run, show_table

NAME = "shares"
TEXT = "measure what a run's gain over Random at equal bytes owes to the soft similarities and to augmentation"


def _parser(_: Sequence[str]) -> ArgumentParser:
    parser = plain_parser(NAME, TEXT)
    parser.add_argument("run", type=str, help="folder of the run")
    parser.add_argument("--json", action="store_true", help="print recalls and shares as one JSON object")
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    # the heavy imports
    from pairstill.studies.gain_attribution.study import shares
    from pairstill.studies.gain_attribution.table import HEADER, sentences, shares_json, variant_cells

    with open_run(settings_of_run(Path(options.run))) as (run, _):
        report = run.study(shares)
    if report is None:
        return 0  # of several processes, the main one tells
    if options.json:
        print(json.dumps(shares_json(report.shares, report.variants)))
        return 0
    cells = (variant_cells(name, variant) for name, variant in report.variants.items())
    show_table("Mean recall on the test split in % (protocol strict)", HEADER, cells)
    for sentence in sentences(report.shares, report.variants):
        print(sentence)
    print("Intervals: 95 %, over the test images, for these pairs and these students.")
    return 0


COMMAND = Command(NAME, TEXT, _parser, _run)
