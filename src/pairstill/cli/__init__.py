"""The command line: one module for each command, all settings from YAML files and dotted options."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper

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
    search,
    shares,
    stages,
    student,
    sweep,
)
from pairstill.cli.command import Command
from pairstill.cli.runs import error_line
from pairstill.cli.usage import Parser, files_first, positionals_first, refuse_unknown
from pairstill.core.errors import ConfigError, PairstillError, shown

COMMANDS: tuple[Command, ...] = (
    *stages.COMMANDS,
    quickstart.COMMAND,
    plan.COMMAND,
    methods.COMMAND,
    sweep.COMMAND,
    reproduce.COMMAND,
    downstream.COMMAND,
    report.COMMAND,
    compare.COMMAND,
    shares.COMMAND,
    export.COMMAND,
    student.COMMAND,
    search.COMMAND,
    analyze.COMMAND,
    bench.COMMAND,
    cache.COMMAND,
    completion.COMMAND,
)

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that ask a process to end."""
NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "overflow", "Invalid buffer size")
"""What errors of the tensor library say where something does not fit into the memory."""


def build_parser(parsers: dict[str, ArgumentParser] | None = None, arguments: Sequence[str] = ()) -> ArgumentParser:
    """Return the parser of the command line.

    Args:
        parsers: the commands' own parsers by name; None builds those of all commands.
        arguments: what follows the command's name, with what it implies: it may name the method.
    """
    parser = Parser(
        prog="pairstill",
        description="Multimodal dataset distillation: a few hundred synthetic pairs in place of a large set.",
        version=__version__,
    )
    commands = parser.add_subcommands(required=False, dest="command", metavar="COMMAND", help="what to do:")
    parsers = parsers or _parsers(COMMANDS, arguments)
    for command in (each for each in COMMANDS if each.name in parsers):
        commands.add_subcommand(command.name, parsers[command.name], help=command.text)
        if command.nest is not None:
            command.nest(parsers[command.name], arguments)  # after it is added: the library wants levels in order
    return parser


def _parsers(commands: Sequence[Command], arguments: Sequence[str]) -> dict[str, ArgumentParser]:
    return {command.name: command.parser(arguments) for command in commands}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    0 is done, 1 an error in the run, 2 wrong usage; interrupted is 130 from the keyboard, and for other signals 128 and
    their number, such as 143 for SIGTERM.
    """
    return answered(lambda: _main(sys.argv[1:] if arguments is None else list(arguments)))


def answered(work: Callable[[], int]) -> int:
    """Return the exit status of what a command does; what stops it becomes a line and a status, as `main` says."""
    with _shown_anyhow():
        return _answered(work)


def _answered(work: Callable[[], int]) -> int:
    try:
        with _signals_as_interrupts():
            return work()
    except PairstillError as error:
        print(error_line(str(error)), file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt as stop:
        print("pairstill: interrupted; the same command goes on from here", file=sys.stderr)
        return 128 + (stop.number if isinstance(stop, _Stopped) else signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: what is left goes nowhere
        return 128 + signal.SIGPIPE
    except (OSError, MemoryError, RuntimeError) as error:
        if (line := _of_the_machine(error)) is None:
            raise
        print(error_line(line), file=sys.stderr)
        return 1


def _main(arguments: list[str]) -> int:
    named = [command for command in COMMANDS if arguments[:1] == [command.name]]
    rest = _implied(named[0], _underscored(arguments[1:])) if named else []
    # the others' hundreds of options would take most of the time of --help
    parsers = _parsers(named or COMMANDS, rest)
    parser = build_parser(parsers, rest)
    parsed = parsed_by(parser, parsers, arguments)
    for command in COMMANDS:
        if command.name == parsed.command:
            return command.run(parsers[command.name], parsed[command.name])
    parser.print_help()
    return 2


def _of_the_machine(error: Exception) -> str | None:
    """Return in words an error that is of the machine and not of the code, or None."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, PairstillError):
        return f"{error.filename or 'a file'} cannot be used ({error.strerror}); correct its path, or make it readable"
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in NO_MEMORY):
        why = str(error).splitlines()[0] if str(error) else "out of memory"
        return (
            f"the memory does not hold what these settings ask for ({why}); lower the sizes (image.size, text.width, "
            "heads.width, the pairs of distill.phases, batch_size); `pairstill plan` tells what a run needs"
        )
    return None


@contextmanager
def _shown_anyhow() -> Iterator[None]:
    """Show "?" for letters that the terminal's encoding has not: a table is no reason to fail."""
    streams = [each for each in (sys.stdout, sys.stderr) if isinstance(each, TextIOWrapper) and each.errors == "strict"]
    for stream in streams:
        stream.reconfigure(errors="replace")
    try:
        yield
    finally:
        for stream in streams:
            if not stream.closed:
                stream.reconfigure(errors="strict")


class _Stopped(KeyboardInterrupt):
    """A signal that ends a command as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """Let the signals that ask a process to end raise `_Stopped` in the block; only the main thread can.

    So what is being written is cleared away. One that is ignored, as SIGHUP is under nohup, stays ignored.
    """

    def stop(number: int, _: object) -> None:
        raise _Stopped(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = [each for each in ENDING if signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.signal(each, stop) for each in asked}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler or signal.SIG_DFL)


def parsed_by(parser: ArgumentParser, parsers: Mapping[str, ArgumentParser], arguments: Sequence[str]) -> Namespace:
    """Return a command line as parsed.

    Args:
        parser: the whole command line's, from `build_parser`.
        parsers: the commands' own, which it was built from.
        arguments: the command and what follows it.

    Raises:
        ConfigError: the settings cannot be read.
    """
    if broken := [argument for argument in arguments if "\0" in argument]:  # as no shell can give, but a program can
        raise ConfigError(f"{shown(broken[0])} holds a NUL, which is in no path and no name; leave it out")
    try:
        asked = _expanded(parsers, _underscored(arguments))
        if asked[:1] and asked[0] in parsers:
            refuse_unknown(parsers[asked[0]], asked[1:])
        return parser.parse_args(asked)
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


def _implied(command: Command, arguments: list[str]) -> list[str]:
    """Return a command's arguments with what they imply."""
    below = 1 if command.nest is not None else 0  # the name of the command below this one stays in front
    asked = arguments if command.expand is None else command.expand(arguments)
    return [*asked[:below], *files_first(asked[below:])]


def _expanded(parsers: Mapping[str, ArgumentParser], arguments: list[str]) -> list[str]:
    """Return the arguments with what they imply, in the order that the parser needs."""
    for command in COMMANDS:
        if arguments[:1] == [command.name]:
            rest = _implied(command, arguments[1:])
            return [command.name, *(rest if command.nest else positionals_first(parsers[command.name], rest))]
    return arguments
