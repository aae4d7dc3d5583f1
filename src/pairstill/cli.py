"""The command line: one command for each stage, all settings from YAML files and dotted options."""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from pairstill import __version__
from pairstill.bench.settings import BENCHMARKS
from pairstill.config import DistillConfig, RunConfig
from pairstill.errors import ConfigError, PairstillError, RankError
from pairstill.reproduce.settings import Reproduction

if TYPE_CHECKING:
    from rich.console import Console

    from pairstill.pipeline import Pipeline
    from pairstill.report.tables import Row

STAGES = {
    "run": "run every stage: prepare, teach, distill, evaluate",
    "prepare": "check the pairs and encode what frozen towers allow",
    "teach": "train the teachers and record their trajectories",
    "distill": "distil the pairs (trains teachers that are missing); --method chooses how",
    "select": "choose real pairs instead: --method random, herding, k_center or forgetting",
    "evaluate": "train students on the distilled set and the references, and measure recall",
}
QUICKSTART = "the whole pipeline on embedded pairs: Random, PTM-ST and full data in a few minutes"
QUICKSTART_DIR = "runs/quickstart"
PLAN = "probe a run for a moment and tell what it will take: disk, memory by mode, time by stage, what will not fit"
METHODS = "list the methods: what they make, where they come from, what they need"
REPRODUCE = "measure every row of a benchmark, one at a time; rows that are measured already are skipped"
BENCH = "measure the engine's parts on this machine: time in turn, memory in fresh processes, agreement"


def build_parser() -> ArgumentParser:
    """Return the parser; every option is a field of `RunConfig`."""
    parser = ArgumentParser(
        prog="pairstill",
        description="Multimodal dataset distillation: a few hundred synthetic pairs in place of a large set.",
        version=__version__,
    )
    commands = parser.add_subcommands(required=False, dest="command", metavar="COMMAND", help="what to do:")
    for name, text in STAGES.items():
        commands.add_subcommand(name, _stage_parser(f"pairstill {name}", text), help=text)
    quickstart = ArgumentParser(prog="pairstill quickstart", description=f"{_sentence(QUICKSTART)}")
    quickstart.add_argument("--run_dir", default=QUICKSTART_DIR, help="folder of the run", type=str)
    quickstart.add_argument("--json", action="store_true", help="print the recalls as one JSON object in the last line")
    commands.add_subcommand("quickstart", quickstart, help=QUICKSTART)
    plan = _stage_parser("pairstill plan", PLAN)
    plan.add_argument("--json", action="store_true", help="print the plan as one JSON object")
    commands.add_subcommand("plan", plan, help=PLAN)
    methods = ArgumentParser(prog="pairstill methods", description=_sentence(METHODS))
    methods.add_argument("--json", action="store_true", help="print the methods as one JSON array")
    commands.add_subcommand("methods", methods, help=METHODS)
    reproduce = ArgumentParser(prog="pairstill reproduce", description=_sentence(REPRODUCE))
    reproduce.add_class_arguments(Reproduction, as_positional=True)
    commands.add_subcommand("reproduce", reproduce, help=REPRODUCE)
    bench = ArgumentParser(prog="pairstill bench", description=_sentence(BENCH))
    commands.add_subcommand("bench", bench, help=BENCH)
    _add_benchmarks(bench)
    return parser


def _add_benchmarks(parser: ArgumentParser) -> None:
    benchmarks = parser.add_subcommands(dest="benchmark", metavar="BENCHMARK", help="what to measure:")
    for name, settings in BENCHMARKS.items():
        text = (settings.__doc__ or "").splitlines()[0]
        one = ArgumentParser(prog=f"pairstill bench {name}", description=text)
        one.add_class_arguments(settings)
        one.add_argument("--json", action="store_true", help="print the report as one JSON object")
        benchmarks.add_subcommand(name, one, help=text)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _stage_parser(prog: str, text: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=prog,
        description=f"{_sentence(text)} Settings come from --config files, then from options; later ones win.",
    )
    parser.add_argument("--config", action="config", help="YAML file with settings; may be given several times")
    parser.add_class_arguments(RunConfig)
    # as plain values, which --print_config can write
    parser.set_defaults({"distill.phases": [asdict(phase) for phase in DistillConfig().phases]})
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0 done, 1 an error in the run, 2 wrong usage."""
    parser = build_parser()
    parsed = parser.parse_args(_underscored(sys.argv[1:] if arguments is None else arguments))
    try:
        if parsed.command is None:
            parser.print_help()
            return 2
        if parsed.command == "quickstart":
            return _quickstart(parsed.quickstart)
        if parsed.command == "bench":
            return _bench(parser, parsed)
        if parsed.command == "methods":
            return _methods(as_json=parsed.methods.json)
        if parsed.command == "reproduce":
            return _reproduce(parser.instantiate(parsed).reproduce)
        if parsed.command == "plan":
            return _plan(_run_config(parser, parsed), as_json=parsed.plan.json)
        return _stage(parsed.command, _run_config(parser, parsed))
    except PairstillError as error:
        print(f"pairstill: {_error()}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        print("pairstill: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _underscored(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `--inner-steps` written as `--inner_steps`: both are understood."""
    found = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        found.append(name[:2] + name[2:].replace("-", "_") + equals + value if name.startswith("--") else argument)
    return found


def _several_processes() -> bool:
    return os.environ.get("WORLD_SIZE", "1") != "1"


def _error() -> str:
    """Return "error", and where if there are several processes, all of which write to one terminal."""
    return f"error on rank {os.environ.get('RANK')}" if _several_processes() else "error"


def _stopped_by_torchrun(*_: object) -> None:
    raise RankError(
        "torchrun stopped this process, as it does when another rank stopped; see its own message. "
        "The same command goes on from the last checkpoint"
    )


def _run_config(parser: ArgumentParser, parsed: Namespace) -> RunConfig:
    instantiated = parser.instantiate(parsed)
    settings: dict[str, Any] = dict(vars(instantiated[parsed.command]))
    for option in ("config", "json"):
        settings.pop(option, None)
    return RunConfig(**settings)


def _pipeline(config: RunConfig) -> "tuple[Pipeline, Console]":
    # the heavy imports, so that --help and usage errors answer at once
    from rich.console import Console

    from pairstill.pipeline import Pipeline

    if _several_processes():
        # it may come before the lost rank is missed; without this the process would die without a word
        signal.signal(signal.SIGTERM, _stopped_by_torchrun)
    pipeline = Pipeline(config, Console(stderr=True))
    return pipeline, pipeline.console


def _stage(command: str, config: RunConfig) -> int:
    pipeline, progress = _pipeline(config)
    match command:
        case "prepare":
            manifest = pipeline.prepare()
            progress.print(f"{len(manifest.records)} images are ready; fingerprint {manifest.fingerprint[:16]}")
        case "teach":
            experts = pipeline.teach()
            progress.print(f"{len(experts)} experts are in {pipeline.folder.trajectories}")
        case "distill":
            distilled = pipeline.distill()
            progress.print(
                f"{distilled.num_pairs} pairs ({distilled.pairs_equivalent:.2f} pairs' worth of bytes) are in "
                f"{pipeline.folder.distilled}"
            )
        case "select":
            selected = pipeline.select()
            progress.print(f"{selected.num_pairs} real pairs are in {pipeline.folder.distilled}")
        case "evaluate":
            _print_table(pipeline.evaluate(), config)
        case _:
            _print_table(pipeline.run(), config)
    pipeline.leave()
    return 0


def _quickstart(options: Namespace) -> int:
    began = time.perf_counter()
    config = RunConfig(run_dir=options.run_dir)
    pipeline, _ = _pipeline(config)
    rows = pipeline.run()
    _print_table(rows, config)
    print(f"The distilled pairs are in {pipeline.folder.distilled}, the table in {pipeline.folder.path}/results.md")
    if options.json:
        names = {"Random": "random", "PTM-ST": "ptm_st", "Full data": "full"}
        recalls = {names[row.title]: round(row.mean, 2) for row in rows}
        seconds = round(time.perf_counter() - began, 1)
        print(json.dumps({"mean_recall": recalls, "seconds": seconds, "run": str(pipeline.folder.path)}))
    return 0


def _methods(*, as_json: bool) -> int:
    # the heavy imports
    from rich.console import Console
    from rich.table import Table

    from pairstill.methods import METHODS

    if as_json:
        print(json.dumps([method.to_json() for method in METHODS]))
        return 0
    table = Table("name", "title", "makes", "needs", "source")
    for method in METHODS:
        table.add_row(method.name, method.title, method.makes, ", ".join(method.needs) or "-", method.source)
    console = Console()
    Console(width=max(console.width, 132)).print(table)
    return 0


def _reproduce(settings: Namespace) -> int:
    reproduction = Reproduction(**vars(settings))
    # the heavy imports
    from rich.console import Console

    from pairstill.reproduce.rows import reproduce

    parser = _stage_parser("pairstill run", STAGES["run"])

    def load(options: list[str]) -> RunConfig:
        settings = dict(vars(parser.instantiate(parser.parse_args(options))))
        settings.pop("config", None)
        return RunConfig(**settings)

    page = reproduce(reproduction, load, Console(stderr=True))
    print(page)
    return 0


def _plan(config: RunConfig, *, as_json: bool) -> int:
    # the heavy imports
    from rich.console import Console
    from rich.table import Table

    from pairstill.plan import make_plan
    from pairstill.report.plans import disk_line, memory_cells, stage_cells

    progress = Console(stderr=True)
    plan = make_plan(config, lambda stage: progress.print(f"Probing: {stage}", style="dim"))
    if as_json:
        print(json.dumps(plan.to_json()))
        return 0
    console = Console()
    for title, columns, rows in (
        ("Time", ("stage", "time", ""), stage_cells(plan)),
        ("Memory by mode of the hypergradient", ("mode", "peak", ""), memory_cells(plan)),
    ):
        table = Table(*columns, title=title)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(disk_line(plan), soft_wrap=True)
    for warning in plan.warnings:
        console.print(f"Warning: {warning}", style="yellow", soft_wrap=True)
    if not plan.warnings:
        console.print("It fits.")
    return 0


def _bench(parser: ArgumentParser, parsed: Namespace) -> int:
    settings: dict[str, Any] = dict(vars(parser.instantiate(parsed).bench[parsed.bench.benchmark]))
    as_json = settings.pop("json")
    # the heavy imports
    from rich.console import Console
    from rich.table import Table

    from pairstill.bench.run import run_benchmark
    from pairstill.report.benches import bench_cells, header

    name = parsed.bench.benchmark
    report = run_benchmark(name, BENCHMARKS[name](**settings))
    if isinstance(report, int):
        print(report)
    elif as_json:
        print(json.dumps(report.to_json()))
    else:
        where = ", ".join(f"{key} {value}" for key, value in report.hardware.items())
        table = Table(title=f"{report.command}\n{where}")
        for number, title in enumerate(header(report)):
            table.add_column(title, justify="left" if number == 0 else "right", no_wrap=True)
        for row in report.rows:
            table.add_row(*bench_cells(report, row))
        console = Console()
        Console(width=max(console.width, 132)).print(table)
    return 0


def _print_table(rows: "Sequence[Row]", config: RunConfig) -> None:
    if not rows:
        return  # of several processes, the main one shows the table
    from rich.console import Console
    from rich.table import Table

    from pairstill.report.tables import HEADER, cells

    chosen = "epochs chosen on validation" if config.evaluate.protocol == "strict" else "best epoch on test, optimistic"
    table = Table(title=f"Recall on the test split in % (protocol {config.evaluate.protocol}: {chosen})")
    for number, title in enumerate(HEADER):
        table.add_column(title, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*cells(row))
    console = Console()
    # a table that does not fit is unreadable; a pipe has no width
    Console(width=max(console.width, 132)).print(table)
