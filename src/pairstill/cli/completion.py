"""`pairstill completion`: a script that completes commands, options and choices in a shell."""

from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser
from pairstill.core.extras import need

NAME = "completion"
TEXT = "print a script for the completion of this command line in bash or zsh"
SHELLS = ("bash", "zsh")


def _parser(_: Sequence[str]) -> ArgumentParser:
    parser = plain_parser(NAME, TEXT)
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    from pairstill.cli import build_parser

    need("shtab", "completion")
    print(build_parser().get_completion_script(f"shtab-{options.shell}"))
    return 0


COMMAND = Command(NAME, TEXT, _parser, _run)
