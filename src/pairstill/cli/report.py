"""`pairstill report`: a run as a page."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser, settings_of_run
from pairstill.cli.runs import shown_on
from pairstill.core.formatting import printable

NAME = "report"
TEXT = "show a run as one HTML page: recalls, curves, pairs before and after, similarities, retrieval examples"


def _parser(_: Sequence[str]) -> ArgumentParser:
    parser = plain_parser(NAME, TEXT)
    parser.add_argument("run", type=str, help="folder of the run, finished or not; it is only read")
    parser.add_argument("--out", type=str, default=None, help="the file; null takes report.html in the run's folder")
    parser.add_argument(
        "--retrieval",
        type=bool,
        default=True,
        help="show retrieval examples; a student is trained for them, which takes as long as one of evaluate does",
    )
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    from pairstill.run.pipeline import Run

    run = Path(options.run)
    out = run / "report.html" if options.out is None else Path(options.out)
    pipeline = Run(settings_of_run(run), shown_on(stderr=True), writes=False)
    pipeline.report(out, retrieval=options.retrieval)
    print(printable(str(out)))
    return 0


COMMAND = Command(NAME, TEXT, _parser, _run)
