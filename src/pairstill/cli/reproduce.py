"""`pairstill reproduce`: the rows of a table or benchmark."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser, settings_from
from pairstill.cli.queueing import add_queue, picked
from pairstill.cli.runs import shown_on
from pairstill.core.errors import ConfigError
from pairstill.tools.reproduce.settings import Reproduction, shipped_settings
from pairstill.tools.sweep.settings import QueueConfig

NAME = "reproduce"
TEXT = "measure the rows of a table of the paper, or of a benchmark; rows that are measured already are skipped"
POSITIONAL = {
    "benchmark": (
        "table1 to table8 or table13 to table19 (the others have settings, no results), or flickr8k: every method on "
        "Flickr8k"
    ),
    "data_root": "folder of the dataset",
    "image_weights": "weights of the image tower",
}


def _parser(_: Sequence[str]) -> ArgumentParser:
    parser = plain_parser(NAME, TEXT)
    for name, text in POSITIONAL.items():
        parser.add_argument(name, nargs="?", help=text)
    parser.add_class_arguments(Reproduction, skip=set(POSITIONAL))
    add_queue(parser)
    parser.add_argument(
        "--list", action="store_true", help="list every row of the paper's tables instead, or those of one"
    )
    parser.add_argument("--json", action="store_true", help="print the list as one JSON array")
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    values: dict[str, Any] = dict(vars(parser.instantiate(options)))
    listing, as_json = values.pop("list"), values.pop("json")
    if listing:
        return _list(values["configs"], Path(values["out"]).expanduser(), values["benchmark"], as_json=as_json)
    if values["benchmark"] is None:
        raise ConfigError("name what to reproduce, such as table4 or flickr8k; --list shows the tables and their rows")
    settings, queue = picked(Reproduction, values), picked(QueueConfig, values)
    # the heavy imports
    from pairstill.tools.reproduce.run import reproduce

    outcome = reproduce(settings, queue, settings_from, shown_on(stderr=True))
    print(outcome.page)
    return 1 if outcome.failed else 0


def _list(configs: str | None, out: Path, table_name: str | None, *, as_json: bool) -> int:
    from rich.table import Table

    from pairstill.tools.reproduce.catalog import list_rows

    folder = shipped_settings(configs)
    listed = list_rows(folder, [out, folder.parent / "benchmarks"], table_name)
    if as_json:
        print(json.dumps([each.to_json() for each in listed]))
        return 0
    console, here = shown_on(wide=True), Path.cwd()
    full = folder.absolute()
    typed = full.relative_to(here) if full.is_relative_to(here) else Path()  # a long path would break the table
    for table in dict.fromkeys(each.table for each in listed):
        members = [each for each in listed if each.table == table]
        what = "mean recall" if table.has_recalls else ", ".join(table.columns)
        shown = Table(
            "group",
            "row",
            "settings",
            f"paper: {what}",
            "ours (protocol strict)",
            title=f"{table.number}: {table.title}",
        )
        for each in members:
            row = each.row
            paper = f"{row.mean:.1f}" if table.has_recalls else " ".join(f"{value:g}" for value in row.values)
            ours = ", ".join(f"{value:.1f} ({scale})" for scale, value in each.ours.items())
            settings = f"none: {row.without}" if each.config is None else str(typed / each.config)
            shown.add_row(row.group, row.title, settings, paper, ours)
        console.print(shown)
        for needs in dict.fromkeys(each.needs for each in members if each.needs):
            console.print(f"Needs: {', '.join(needs)}", soft_wrap=True, markup=False)
        for line in (*table.ways(), ""):
            console.print(line, soft_wrap=True, markup=False)
    where = "" if typed != Path() else f"The settings are below {folder}. "
    where += "At --scale paper, DATA is the folder above as data: the one that holds flickr30k, coco or llava_cc3m."
    console.print(where, soft_wrap=True, markup=False)
    return 0


COMMAND = Command(NAME, TEXT, _parser, _run)
