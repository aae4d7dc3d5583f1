"""`pairstill bench`: the engine's parts, measured on this machine."""

import json
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from pairstill.cli.command import Command, plain_parser
from pairstill.cli.runs import show_table
from pairstill.cli.usage import Parser
from pairstill.tools.bench.settings import BENCHMARKS

NAME = "bench"
TEXT = "measure the engine's parts on this machine: time in turn, memory in fresh processes, agreement"


def _nest(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    benchmarks = parser.add_subcommands(dest="benchmark", metavar="BENCHMARK", help="what to measure:")
    for name, settings in BENCHMARKS.items():
        text = (settings.__doc__ or "").splitlines()[0]
        one = Parser(prog=f"pairstill bench {name}", description=text)
        one.add_class_arguments(settings)
        one.add_argument("--json", action="store_true", help="print the report as one JSON object")
        benchmarks.add_subcommand(name, one, help=text)


def _run(parser: ArgumentParser, options: Namespace) -> int:
    name = options.benchmark
    settings: dict[str, Any] = dict(vars(parser.instantiate(options)[name]))
    as_json = settings.pop("json")
    # the heavy imports
    from pairstill.tools.bench.run import run_benchmark
    from pairstill.tools.bench.table import bench_cells, header

    report = run_benchmark(name, BENCHMARKS[name](**settings))
    if isinstance(report, int):
        print(report)
    elif as_json:
        print(json.dumps(report.to_json()))
    else:
        where = ", ".join(f"{key} {value}" for key, value in report.hardware.items())
        rows = (bench_cells(report, row) for row in report.rows)
        show_table(f"{report.command}\n{where}", header(report), rows)
    return 0


COMMAND = Command(NAME, TEXT, lambda _: plain_parser(NAME, TEXT), _run, _nest)
