"""`pairstill quickstart`: the whole pipeline on embedded pairs."""

import json
import time
from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser
from pairstill.cli.runs import open_run, print_table
from pairstill.config import RunConfig

NAME = "quickstart"
TEXT = "the whole pipeline on embedded pairs: Random, PTM-ST and full data in a few minutes"
RUN_DIR = "runs/quickstart"


def _parser(_: Sequence[str]) -> ArgumentParser:
    parser = plain_parser(NAME, TEXT)
    parser.add_argument("--run_dir", default=RUN_DIR, help="folder of the run", type=str)
    parser.add_argument("--json", action="store_true", help="print the recalls as one JSON object in the last line")
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    began = time.perf_counter()
    config = RunConfig(run_dir=options.run_dir)
    with open_run(config) as (pipeline, _):
        rows = pipeline.run()
    print_table(rows, config)
    print(f"The distilled pairs are in {pipeline.folder.distilled}, the table in {pipeline.folder.path}/results.md")
    if options.json:
        names = {"Random": "random", "PTM-ST": "ptm_st", "Full data": "full"}
        recalls = {names[row.title]: round(row.mean, 2) for row in rows}
        seconds = round(time.perf_counter() - began, 1)
        print(json.dumps({"mean_recall": recalls, "seconds": seconds, "run": str(pipeline.folder.path)}))
    return 0


COMMAND = Command(NAME, TEXT, _parser, _run)
