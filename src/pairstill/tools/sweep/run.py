"""Run a sweep: its queue is drained, and the table is written after every row."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pairstill.config import RunConfig
from pairstill.core.errors import ArtifactError, ConfigError, list_problems
from pairstill.core.formatting import counted, duration
from pairstill.methods import with_method
from pairstill.run.folder import RunFolder
from pairstill.storage import read_json, write_json
from pairstill.storage.locks import exclusive
from pairstill.storage.owned import refuse_others
from pairstill.tools.sweep.executors import choose_executor
from pairstill.tools.sweep.queue import PROGRAM, Drain, Queue, Task, Tell
from pairstill.tools.sweep.rows import Load, Rows, SweepRow, rows_of
from pairstill.tools.sweep.settings import QueueConfig, SweepConfig
from pairstill.tools.sweep.state import RowState
from pairstill.tools.sweep.table import write_tables

SWEEP, QUEUE = "sweep.json", "queue"
_KEYS = {"settings", "grid", "set", "seeds"}


@dataclass(frozen=True)
class Outcome:
    """What a sitting came to.

    Attributes:
        page: the table, as Markdown.
        failed: how many rows failed.
    """

    page: str
    failed: int


def sweep(
    settings: SweepConfig, config: QueueConfig, load: Load, console: Console, program: Sequence[str] = PROGRAM
) -> Outcome:
    """Run the rows that are not done yet, and return the table of all.

    Args:
        settings: of the sweep.
        config: of the queue.
        load: makes a run's settings from command-line options.
        console: where progress is shown.
        program: what is called with `run` and the settings of a row.

    Raises:
        ConfigError: the grid or the settings of a row cannot work, the run of a row has other settings, or `out` holds
            something else.
        BusyError: another process is at work in `out`.
    """
    rows, out = rows_of(settings, load), Path(settings.out).expanduser()
    refuse_others(out, "a sweep", "out", _is_sweep)
    refuse_changed((row.name, row.config) for row in rows.rows)
    queue = queue_of(rows, out, program)

    def write() -> str:
        return write_tables(rows, states_of(rows, queue), out)

    with exclusive(out):
        write_json(out / SWEEP, settings.to_json())
        failed = drain(queue, config, console, write)
        return Outcome(write(), failed)


def refuse_changed(configs: Iterable[tuple[str, RunConfig]]) -> None:
    """Refuse rows whose runs were made with other settings: they would fail one by one, whenever they are taken.

    Args:
        configs: names and settings of the rows.

    Raises:
        ConfigError: the run of a row has other settings, which the message names.
    """
    for name, given in configs:
        if differing := _changed_settings(given):
            raise ConfigError(
                f"{name} was run with other settings; give another --out, or delete {given.run_dir}:\n"
                + list_problems(differing)
            )


def queue_of(rows: Rows, out: Path, program: Sequence[str] = PROGRAM) -> Queue:
    """Return the queue of a sweep's rows below its folder."""
    return Queue(out / QUEUE, [row.task for row in rows.rows], program)


def _changed_settings(given: RunConfig) -> list[str]:
    config = with_method(given)
    return RunFolder(config, writes=False).changed_settings(config)


def listing_of(rows: Rows, queue: Queue) -> Iterator[tuple[str, ...]]:
    """Yield name, seed, stage, since when, and why of each row; one whose run has other settings is `changed`."""
    for row, state in states_of(rows, queue).items():
        stage, why = state.stage, state.error[-1] if state.error else ""
        if stage == "waiting" and (differing := _changed_settings(row.config)):
            more = f", and {counted(len(differing) - 1, 'other')}" if differing[1:] else ""
            stage, why = "changed", f"{differing[0]}{more}; give another --out, or delete {row.config.run_dir}"
        elif stage == "waiting" and queue.is_known_otherwise(row.task):
            why = "what is measured has changed since it was run; the next sitting measures that alone"
        yield row.cell.name, str(row.seed), stage, state.since, why


def states_of(rows: Rows, queue: Queue) -> dict[SweepRow, RowState]:
    """Return how far each row of a sweep is."""
    return {row: queue.state(task) for row, task in zip(rows.rows, queue.tasks, strict=True)}


def drain(queue: Queue, config: QueueConfig, console: Console, write: Callable[[], object]) -> int:
    """Run the rows of a queue that are not done yet, and return how many failed.

    Args:
        queue: the rows.
        config: how they are run.
        console: where it is told what becomes of them.
        write: called after every row that is done.
    """
    tell = _telling(queue, console)

    def changed(task: Task, state: RowState) -> None:
        tell(task, state)
        if state.stage == "done":
            _written(write, console)

    Drain(queue, choose_executor(config, queue.folder), config, changed).run()
    failed = sum(queue.state(task).stage == "failed" for task in queue.tasks)
    if failed:
        console.print(f"{counted(failed, 'row')} failed; --retry takes them again", style="red")
    return failed


def _written(write: Callable[[], object], console: Console) -> None:
    """Write the table; what it fails with must not end the other rows, and comes again when all are done."""
    try:
        write()
    except Exception as error:
        console.print(f"The table is not written ({type(error).__name__}: {error}); the rows go on", style="red")


def _telling(queue: Queue, console: Console) -> Tell:
    def tell(task: Task, state: RowState) -> None:
        match state.stage:
            case "running":
                console.print(f"Begun: {task.name} (log: {queue.log_of(task)})")
            case "done":
                left = sum(queue.state(each).stage in ("waiting", "running") for each in queue.tasks)
                console.print(f"Done: {task.name}, {duration(state.seconds or 0.0)}; {counted(left, 'row')} left")
            case "failed":
                console.print(f"Failed: {task.name}, {state.why}", style="red")
            case "waiting":
                console.print(f"Put back: {task.name}{', ' + state.error[0] if state.error else ''}", style="yellow")

    return tell


def _is_sweep(folder: Path) -> bool:
    try:
        found = read_json(folder / SWEEP)
    except ArtifactError:
        return False
    return isinstance(found, dict) and found.keys() >= _KEYS
