"""Measure rows, one at a time or as a queue; what is measured already is not measured again."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from pairstill.config import RunConfig
from pairstill.distilled import TENSORS
from pairstill.evaluate.ledger import FILES
from pairstill.evaluate.results import summarise
from pairstill.report.tables import markdown
from pairstill.run.folder import is_run
from pairstill.run.pipeline import Run
from pairstill.storage import write_text_atomic
from pairstill.storage.locks import exclusive
from pairstill.storage.owned import content_of, refuse_others
from pairstill.studies.cross_encoder.study import cross
from pairstill.tools.reproduce.measured import Measured, results_of
from pairstill.tools.reproduce.pages import left_out_lines, write_table
from pairstill.tools.reproduce.paper import find_table, read_tables
from pairstill.tools.reproduce.rows import (
    TEACHERS,
    Load,
    Row,
    base_of,
    chosen,
    in_order,
    methods_rows,
    placed,
    table_rows,
)
from pairstill.tools.reproduce.settings import METHODS_BENCHMARK, TRANSFER_BENCHMARK, Reproduction
from pairstill.tools.reproduce.transfer import transfer_rows
from pairstill.tools.reproduce.transfer_page import transfer_results, write_transfer
from pairstill.tools.sweep.queue import Queue, Task
from pairstill.tools.sweep.rows import task_of
from pairstill.tools.sweep.run import QUEUE, Outcome, drain, refuse_changed
from pairstill.tools.sweep.settings import QueueConfig

PAGE, RESULTS = "results.md", FILES["retrieval"]


@dataclass(frozen=True)
class Job:
    """What a reproduction measures and writes.

    Attributes:
        rows: all rows, in order.
        out: folder that receives their runs and teachers.
        write: writes the tables of what is measured so far, and returns them as Markdown.
    """

    rows: list[Row]
    out: Path
    write: Callable[[], str]


def reproduce(settings: Reproduction, queue: QueueConfig, load: Load, console: Console) -> Outcome:
    """Measure the rows that are not measured yet and return the tables of all rows so far.

    Args:
        settings: what to measure.
        queue: how many rows at a time, and by whom.
        load: makes a run's settings from command-line options.
        console: where progress is shown.

    Raises:
        ConfigError: the run of a row of the queue has other settings, or `out` holds something else.
    """
    job = _job(settings, load)
    rows = chosen(job.rows, settings.only)
    refuse_others(job.out, "a reproduction", "out", lambda out: _is_own(out, job.rows))
    if queue.jobs == 1 and queue.executor == "local":
        _measure_here(rows, job, settings, load, console)
        return Outcome(job.write(), failed=0)
    # by folder: several rows may be the same run
    runs = {
        f"{row.folder}/seed{seed}": (row, placed(row.load(load), row, seed, settings, job.out))
        for row, seed in in_order(rows, settings.seeds)
    }
    refuse_changed((name, config) for name, (_, config) in runs.items())
    with exclusive(job.out / QUEUE):
        failed = drain(Queue(job.out / QUEUE, _tasks(runs)), queue, console, job.write)
        if students := _students_tasks(runs):  # whose pairs are there now
            failed += drain(Queue(job.out / QUEUE, students), queue, console, job.write)
    return Outcome(job.write(), failed)


def _tasks(runs: Mapping[str, tuple[Row, RunConfig]]) -> list[Task]:
    """Return the runs as rows of a queue; where students have other encoders, the pairs alone are made."""
    tasks = []
    for name, (row, config) in runs.items():
        if row.students is None:
            tasks.append(task_of(name, config, "run" if row.makes_pairs else "evaluate"))
        else:
            made = Path(config.run_dir) / "distilled" / TENSORS
            tasks.append(replace(task_of(name, config, "distill"), makes=made))
    return tasks


def _students_tasks(runs: Mapping[str, tuple[Row, RunConfig]]) -> list[Task]:
    """Return the measurements of students with other encoders, as rows of a queue."""
    return [
        replace(
            task_of(f"{name}/students", config, "evaluate"),
            makes=Path(config.run_dir) / FILES["cross"],
            options=row.students.options,
        )
        for name, (row, config) in runs.items()
        if row.students is not None
    ]


def _measure_here(rows: Sequence[Row], job: Job, settings: Reproduction, load: Load, console: Console) -> None:
    """Measure rows one after another in this process."""
    todo = in_order(rows, settings.seeds)
    for number, (row, seed) in enumerate(todo, start=1):
        console.print(f"Row {number} of {len(todo)}: {row.name}, seed {seed}")
        with Run(placed(row.load(load), row, seed, settings, job.out), console) as pipeline:
            if (students := row.students) is not None:
                pipeline.distill()
                pipeline.study(partial(cross, asked=students))
            elif row.makes_pairs:
                pipeline.run()
            else:
                pipeline.prepare()
                pipeline.evaluate()
        job.write()


def _is_own(out: Path, rows: Sequence[Row]) -> bool:
    """Return whether a folder holds nothing but what a reproduction of these rows makes; tables come after a run."""
    made = {"tables", TEACHERS, QUEUE, *(Path(row.folder).parts[0] for row in rows)}
    names = set(content_of(out))
    any_run = any(is_run(run) for row in rows for run in (out / row.folder).glob("seed*"))
    return names <= made | ({RESULTS, PAGE} if any_run else set())


def _job(settings: Reproduction, load: Load) -> Job:
    match settings.benchmark:
        case "flickr8k":
            return _methods(settings, load)
        case "transfer":
            return _transfer(settings, load)
        case _:
            return _table(settings, load)


def _transfer(settings: Reproduction, load: Load) -> Job:
    rows, out = transfer_rows(settings), Path(settings.out).expanduser() / TRANSFER_BENCHMARK
    return Job(rows, out, lambda: write_transfer(transfer_results(rows, settings, out, load), out))


def _methods(settings: Reproduction, load: Load) -> Job:
    out = Path(settings.out).expanduser() / METHODS_BENCHMARK
    rows = methods_rows(settings.configs_folder)
    return Job(rows, out, lambda: _write_methods(rows, results_of(rows, settings, out, load), out))


def _table(settings: Reproduction, load: Load) -> Job:
    out, configs, scale = Path(settings.out).expanduser() / settings.place, settings.configs_folder, settings.place
    tables = read_tables(configs / "paper")
    table, base = find_table(tables, settings.benchmark), base_of(scale, configs, load)
    rows = table_rows(tables, table, base, configs, load)
    return Job(
        rows, out, lambda: write_table(table, scale, base, results_of(rows, settings, out, load), out / "tables")
    )


def _write_methods(rows: Sequence[Row], measured: Measured, out: Path) -> str:
    """Write the results of all rows as results.jsonl and results.md, and return the latter."""
    results: list[dict[str, Any]] = []
    page: list[str] = []
    for config in dict.fromkeys(row.settings.stem for row in rows):
        of_config = [r for row in rows if row.settings.stem == config for r in measured.results.get(row.name, ())]
        if of_config:
            page.append(f"## {config}\n\n{markdown(summarise(of_config))}")
            results += [{"row": config, **result} for result in of_config]
    page += left_out_lines(measured.left_out)
    write_text_atomic(out / RESULTS, "".join(json.dumps(result) + "\n" for result in results))
    write_text_atomic(out / PAGE, "\n".join(page))
    return "\n".join(page)
