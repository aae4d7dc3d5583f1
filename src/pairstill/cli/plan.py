"""`pairstill plan`: what a run will take."""

import json
from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, run_config, settings_parser
from pairstill.cli.runs import shown_on
from pairstill.events import Event, Probing

NAME = "plan"
TEXT = "probe a run for a moment and tell what it will take: disk, memory by mode, time by stage, what will not fit"


def _parser(arguments: Sequence[str]) -> ArgumentParser:
    parser = settings_parser(NAME, TEXT, arguments)
    parser.add_argument("--json", action="store_true", help="print the plan as one JSON object")
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    from rich.table import Table

    from pairstill.tools.plan import make_plan
    from pairstill.tools.plan.table import disk_line, memory_cells, stage_cells

    progress = shown_on(stderr=True)
    config = run_config(parser, options)

    def show(event: Event) -> None:
        if isinstance(event, Probing):
            progress.print(f"Probing: {event.what}", style="dim")

    plan = make_plan(config, show)
    if options.json:
        print(json.dumps(plan.to_json()))
        return 0
    console = shown_on()
    for title, columns, rows in (
        ("Time", ("stage", "time", ""), stage_cells(plan)),
        ("Memory by mode of the hypergradient", ("mode", "peak", ""), memory_cells(plan)),
    ):
        table = Table(*columns, title=title)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(disk_line(plan), soft_wrap=True)
    for warning in plan.warnings:
        console.print(f"Warning: {warning}", style="yellow", soft_wrap=True)
    if not plan.warnings:
        console.print("It fits.")
    return 0


COMMAND = Command(NAME, TEXT, _parser, _run)
