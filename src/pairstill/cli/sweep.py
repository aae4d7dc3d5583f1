"""`pairstill sweep`: rows of settings as a queue, and one table of them."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser, settings_from
from pairstill.cli.queueing import add_queue, picked
from pairstill.cli.runs import several_processes, show_table, shown_on
from pairstill.config import RunConfig
from pairstill.core.errors import ConfigError
from pairstill.tools.sweep.settings import QueueConfig, SweepConfig

NAME = "sweep"
TEXT = "run settings over a grid of values and seeds, several at a time; the same command goes on"
LISTS = {
    "grid": "NAME=VALUE,VALUE: a setting of `run` and the values that it takes, such as "
    "distill.outer.lr_texts=0.01,0.02; given several times, every combination is a row. A value that holds a comma "
    "stands in quotes or brackets",
    "set": "NAME=VALUE: a setting of all rows; --NAME VALUE is the same for every setting of `run` but `seeds`",
}


def _parser(_: Sequence[str]) -> ArgumentParser:
    parser = plain_parser(NAME, TEXT)
    parser.add_argument(
        "settings", nargs="*", type=str, help="YAML files of settings, as --config of `pairstill run`; later ones win"
    )
    for name, text in LISTS.items():
        parser.add_argument(f"--{name}", type=str, action="append", default=[], help=text)
    parser.add_class_arguments(SweepConfig, skip={"settings", *LISTS})
    add_queue(parser)
    parser.add_argument("--list", action="store_true", help="show the rows and how far they are, and run nothing")
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    values: dict[str, Any] = dict(vars(parser.instantiate(options)))
    lists = {name: tuple(values[name]) for name in ("settings", *LISTS)}
    settings = picked(SweepConfig, {**values, **lists})
    config = picked(QueueConfig, values)
    if several_processes():
        raise ConfigError("sweep begins processes of its own; give the command without torchrun")
    if values["list"]:
        return _list(settings)
    # the heavy imports
    from pairstill.tools.sweep.run import sweep

    outcome = sweep(settings, config, settings_from, shown_on(stderr=True))
    print(outcome.page)
    return 1 if outcome.failed else 0


def _list(settings: SweepConfig) -> int:
    from pairstill.tools.sweep.rows import rows_of
    from pairstill.tools.sweep.run import listing_of, queue_of

    rows = rows_of(settings, settings_from)
    lines = listing_of(rows, queue_of(rows, Path(settings.out).expanduser()))
    show_table(f"Rows below {settings.out}", ["row", "seed", "state", "since", "why"], lines)
    return 0


def _with_settings(arguments: list[str]) -> list[str]:
    """Return the arguments in which settings of `run` are written as `--set`."""
    return list(_words(arguments))


def _words(arguments: list[str]) -> Iterator[str]:
    words = iter(arguments)
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and _is_setting(name):
            yield f"--set={name}={value if equals else next(words, '')}"
        else:
            yield word


def _is_setting(name: str) -> bool:
    return "." in name or name in {"config", *(field.name for field in fields(RunConfig))} - {"seeds"}


COMMAND = Command(NAME, TEXT, _parser, _run, expand=_with_settings)
