"""`pairstill reproduce`: every row of a benchmark."""

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser, run_config, settings_parser
from pairstill.config import RunConfig
from pairstill.reproduce.settings import Reproduction

NAME = "reproduce"
TEXT = "measure every row of a benchmark, one at a time; rows that are measured already are skipped"


def _parser() -> ArgumentParser:
    parser = plain_parser(NAME, TEXT)
    parser.add_class_arguments(Reproduction, as_positional=True)
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    from rich.console import Console

    from pairstill.reproduce.rows import reproduce

    reproduction = Reproduction(**vars(parser.instantiate(options)))
    rows = settings_parser("run", "one row")

    def load(arguments: list[str]) -> RunConfig:
        return run_config(rows, rows.parse_args(arguments))

    print(reproduce(reproduction, load, Console(stderr=True)))
    return 0


COMMAND = Command(NAME, TEXT, _parser, _run)
