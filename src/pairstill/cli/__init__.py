"""The command line: one module for each command, all settings from YAML files and dotted options."""

import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from jsonargparse import ArgumentParser, Namespace

from pairstill import __version__
from pairstill.cli import (
    analyze,
    bench,
    cache,
    compare,
    completion,
    downstream,
    export,
    methods,
    plan,
    quickstart,
    report,
    reproduce,
    shares,
    stages,
)
from pairstill.cli.command import Command
from pairstill.cli.running import error_line
from pairstill.cli.usage import Parser, positionals_first
from pairstill.errors import ConfigError, PairstillError

COMMANDS: tuple[Command, ...] = (
    *stages.COMMANDS,
    quickstart.COMMAND,
    plan.COMMAND,
    methods.COMMAND,
    reproduce.COMMAND,
    downstream.COMMAND,
    report.COMMAND,
    compare.COMMAND,
    shares.COMMAND,
    export.COMMAND,
    analyze.COMMAND,
    bench.COMMAND,
    cache.COMMAND,
    completion.COMMAND,
)


def build_parser(parsers: dict[str, ArgumentParser] | None = None) -> ArgumentParser:
    """Return the parser of the command line.

    Args:
        parsers: the commands' own parsers by name; None builds those of all commands.
    """
    parser = Parser(
        prog="pairstill",
        description="Multimodal dataset distillation: a few hundred synthetic pairs in place of a large set.",
        version=__version__,
    )
    commands = parser.add_subcommands(required=False, dest="command", metavar="COMMAND", help="what to do:")
    parsers = parsers or _parsers(COMMANDS)
    for command in (each for each in COMMANDS if each.name in parsers):
        commands.add_subcommand(command.name, parsers[command.name], help=command.text)
        if command.nest is not None:
            command.nest(parsers[command.name])  # after it is added: the library wants levels in order
    return parser


def _parsers(commands: Sequence[Command]) -> dict[str, ArgumentParser]:
    return {command.name: command.parser() for command in commands}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    0 is done, 1 an error in the run, 2 wrong usage; 130 and 143 are interrupted from the keyboard and by SIGTERM.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    named = [command for command in COMMANDS if arguments[:1] == [command.name]]
    parsers = _parsers(named or COMMANDS)  # the others' hundreds of options would take most of the time of --help
    parser = build_parser(parsers)
    try:
        parsed = parsed_by(parser, parsers, arguments)
        for command in COMMANDS:
            if command.name == parsed.command:
                with _term_as_interrupt():
                    return command.run(parsers[command.name], parsed[command.name])
        parser.print_help()
        return 2
    except PairstillError as error:
        print(error_line(str(error)), file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt as stop:
        print("pairstill: interrupted; the same command goes on from here", file=sys.stderr)
        return 143 if isinstance(stop, _Stopped) else 130


class _Stopped(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


@contextmanager
def _term_as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise `_Stopped` in the block; only the main thread can."""

    def stop(*_: object) -> None:
        raise _Stopped

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def parsed_by(parser: ArgumentParser, parsers: Mapping[str, ArgumentParser], arguments: Sequence[str]) -> Namespace:
    """Return a command line as parsed.

    Args:
        parser: the whole command line's, from `build_parser`.
        parsers: the commands' own, which it was built from.
        arguments: the command and what follows it.

    Raises:
        ConfigError: the settings cannot be read.
    """
    try:
        return parser.parse_args(_expanded(parsers, _underscored(arguments)))
    except PairstillError:
        raise
    except (ValueError, RecursionError) as error:  # what the parser does not expect: numbers of thousands of digits
        raise ConfigError(f"the settings cannot be read ({error}); correct the options or the file") from error


def _underscored(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `--inner-steps` written as `--inner_steps`: both are understood."""
    found = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        found.append(name[:2] + name[2:].replace("-", "_") + equals + value if name.startswith("--") else argument)
    return found


def _expanded(parsers: Mapping[str, ArgumentParser], arguments: list[str]) -> list[str]:
    """Return the arguments with what they imply, in the order that the parser needs."""
    for command in COMMANDS:
        if arguments[:1] == [command.name]:
            rest = arguments[1:] if command.expand is None else command.expand(arguments[1:])
            return [command.name, *(rest if command.nest else positionals_first(parsers[command.name], rest))]
    return arguments
