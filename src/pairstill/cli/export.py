"""`pairstill export`: a run's pairs for other tools."""

import os
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser, settings_of_run
from pairstill.cli.runs import open_run
from pairstill.exchange.settings import LAYOUTS, MEASURES

NAME = "export"
TEXT = "write a run's pairs as Parquet, webdataset, image folder or for the hub, with a dataset card"


def _parser(_: Sequence[str]) -> ArgumentParser:
    parser = plain_parser(NAME, TEXT)
    parser.add_argument("run", type=str, help="folder of the run")
    parser.add_argument("--format", choices=LAYOUTS, required=True, help="the format")
    parser.add_argument("--out", type=str, required=True, help="folder to make")
    parser.add_argument("--licence", type=str, default=None, help="licence of the real pairs, for the card")
    parser.add_argument(
        "--measure",
        choices=MEASURES,
        default="auto",
        help="measure the recall that PNG images cost: auto does if the real pairs are at hand; it takes as long as "
        "the students do, once for all formats",
    )
    parser.add_argument(
        "--push",
        type=str,
        default=None,
        metavar="OWNER/NAME",
        help="a dataset repository of the hub to upload it to; "
        "the folder may be there from before, if it holds these pairs",
    )
    parser.add_argument(
        "--public", action="store_true", help="make a repository that is new public; else only its owner sees it"
    )
    return parser


def _run(parser: ArgumentParser, options: Namespace) -> int:
    from pairstill.exchange.hub import check_repository, push
    from pairstill.run.export import Export

    if options.push is not None:
        check_repository(options.push)
    asked = Export(options.format, Path(options.out), options.licence, options.measure, again=options.push is not None)
    may_write = asked.measure == "always" or os.access(
        options.run, os.W_OK
    )  # a run may lie on a disk that is only read
    with open_run(settings_of_run(Path(options.run)), writes=asked.may_measure and may_write) as (
        pipeline,
        progress,
    ):
        pipeline.export(asked)
        progress.print(
            f"The pairs are in {options.out}, as {options.format}; read {options.out}/README.md before sharing"
        )
        if options.push is not None and pipeline.context.world.is_main:
            progress.print(f"They are at {push(Path(options.out), options.push, public=options.public)}")
    return 0


COMMAND = Command(NAME, TEXT, _parser, _run)
