"""`pairstill downstream`: a run's students on tasks beside retrieval."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, config_of, plain_parser, settings_parser, tell_left_out
from pairstill.cli.runs import open_run, show_table
from pairstill.data.tasks.settings import CocoQa, ZeroShot

NAME = "downstream"
TEXT = "measure a run's students on tasks beside retrieval: zeroshot, cocoqa"
TASKS = {
    "zeroshot": (ZeroShot, "zero-shot classification by class names, over class folders, a hub dataset or captions"),
    "cocoqa": (CocoQa, "COCO-QA in its original files, as retrieval over all answers"),
}


def _nest(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    tasks = parser.add_subcommands(dest="task", metavar="TASK", help="on what:")
    for name, (settings, text) in TASKS.items():
        one = settings_parser(f"{NAME} {name}", text, arguments)
        one.add_class_arguments(settings, name)
        one.add_argument("--json", action="store_true", help="print the rows as one JSON array")
        tasks.add_subcommand(name, one, help=text)


def _run(parser: ArgumentParser, options: Namespace) -> int:
    tell_left_out(parser)
    name = options.task
    values = parser.instantiate(options)[name]
    task, as_json = values[name], values["json"]
    # the heavy imports
    from pairstill.studies.downstream.study import measure
    from pairstill.studies.downstream.table import HEADER, downstream_cells

    with open_run(config_of(values)) as (run, _):
        rows = run.study(lambda context: measure(context, task)) or []
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
    elif rows:
        show_table("Accuracy in %", HEADER, map(downstream_cells, rows))
    return 0


COMMAND = Command(NAME, TEXT, lambda _: plain_parser(NAME, TEXT), _run, _nest)
