"""`pairstill methods`: the methods and what they need."""

import json
from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser
from pairstill.cli.runs import shown_on

NAME = "methods"
TEXT = "list the methods: what they make, where they come from, what they need"


def _parser(_: Sequence[str]) -> ArgumentParser:
    parser = plain_parser(NAME, TEXT)
    parser.add_argument("--json", action="store_true", help="print the methods as one JSON array")
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    from rich.table import Table

    from pairstill.methods import METHODS

    if options.json:
        print(json.dumps([method.to_json() for method in METHODS]))
        return 0
    shown = {"features": "frozen image tower"}
    table = Table("name", "title", "makes", "needs", "source")
    for method in METHODS:
        table.add_row(
            method.name,
            method.title,
            method.makes,
            ", ".join(shown.get(need, need) for need in method.needs) or "-",
            method.source,
        )
    shown_on(wide=True).print(table)
    return 0


COMMAND = Command(NAME, TEXT, _parser, _run)
