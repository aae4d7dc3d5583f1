"""`pairstill analyze`: the paper's figures, on the pairs and the teachers of a run."""

from collections.abc import Sequence
from dataclasses import fields

from jsonargparse import ArgumentParser, Namespace

from pairstill.analyze.settings import ANALYSES
from pairstill.cli.command import Command, config_of, plain_parser, settings_parser, tell_left_out
from pairstill.cli.runs import open_run
from pairstill.core.extras import need

NAME = "analyze"
TEXT = "draw what the teachers of a run are like, as PNG and SVG with the data as CSV"


def _parser(_: Sequence[str]) -> ArgumentParser:
    return plain_parser(NAME, TEXT)


def _nest(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    analyses = parser.add_subcommands(dest="analysis", metavar="ANALYSIS", help="what to draw:")
    for name, settings in ANALYSES.items():
        text = (settings.__doc__ or "").splitlines()[0]
        one = settings_parser(f"{NAME} {name}", text.removesuffix("."), arguments)
        one.add_class_arguments(settings)
        analyses.add_subcommand(name, one, help=text)


def _run(parser: ArgumentParser, options: Namespace) -> int:
    tell_left_out(parser)
    values = parser.instantiate(options)[options.analysis]
    kind = ANALYSES[options.analysis]
    settings = kind(**{field.name: values[field.name] for field in fields(kind)})
    need("matplotlib", "an analysis")
    # the heavy imports
    from pairstill.analyze.run import analyse

    with open_run(config_of(values)) as (pipeline, progress):
        folder = analyse(pipeline.context, settings)
        if folder is not None:
            progress.print(f"The figures are in {folder}")
    return 0


COMMAND = Command(NAME, TEXT, _parser, _run, _nest)
