"""The queue of rows: which are to be run, how far each is, and the loop that keeps as many at work as may be."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pairstill.core.errors import PairstillError
from pairstill.storage import digest, write_text_atomic
from pairstill.tools.sweep.executors import LOST, Executor
from pairstill.tools.sweep.settings import QueueConfig
from pairstill.tools.sweep.state import RowState, last_lines
from pairstill.tools.sweep.work import ENDING_SECONDS, LOG, Job

PROGRAM = (sys.executable, "-m", "pairstill")
SETTINGS = "settings.yaml"
PERHAPS = "perhaps the memory is too small for so many jobs, or the time that a job may take too short"
SIGNALS_FROM = 128
"""Exit statuses from here on are 128 and the signal that ended a program."""


@dataclass(frozen=True)
class Task:
    """A row of the queue.

    Attributes:
        name: its name, and its folder in the queue; parts are separated by slashes.
        command: of pairstill, such as `run`.
        settings: the settings that it is given, as YAML.
        makes: a file that is there once the row is done.
        threads: CPU threads, if its settings say how many.
        teachers: what its teachers depend on; rows with the same share them.
        options: of the command, beside the settings.
    """

    name: str
    command: str
    settings: str
    makes: Path
    threads: int | None = None
    teachers: str = ""
    options: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Digest of what the row is."""
        return digest(self.command, self.settings, *self.options)


Tell = Callable[[Task, RowState], None]


@dataclass
class Queue:
    """Rows and how far they are, in a folder; one process at a time drains it.

    Attributes:
        folder: holds settings, state, log and lock of every row.
        tasks: the rows, in order.
        program: what is called with a row's command.
    """

    folder: Path
    tasks: Sequence[Task]
    program: Sequence[str] = field(default=PROGRAM)

    def folder_of(self, task: Task) -> Path:
        """Return the folder of a row."""
        return self.folder / task.name

    def log_of(self, task: Task) -> Path:
        """Return the log of a row."""
        return self.folder_of(task) / LOG

    def state(self, task: Task) -> RowState:
        """Return the state of a row; one that has other settings now, or whose results are gone, is waiting."""
        state = RowState.load(self.folder_of(task))
        known = state.settings == task.digest and (state.stage != "done" or task.makes.is_file())
        return state if known else RowState()

    def is_known_otherwise(self, task: Task) -> bool:
        """Return whether what is written down of a row is about other settings than it has now."""
        return RowState.load(self.folder_of(task)).settings not in ("", task.digest)

    def job(self, task: Task, cores: int) -> Job:
        """Return a row as its executor gets it, whose settings are written down."""
        folder, threads = self.folder_of(task).absolute(), task.threads or cores
        write_text_atomic(folder / SETTINGS, task.settings)
        options = () if task.threads is not None else (f"--threads={threads}",)
        command = (*self.program, task.command, f"--config={folder / SETTINGS}", *task.options, *options)
        return Job(task.name, command, folder, Path.cwd(), threads)


class Drain:
    """One sitting at a queue: rows that are to be run are, and what becomes of them is written down at once."""

    def __init__(self, queue: Queue, executor: Executor, config: QueueConfig, tell: Tell) -> None:
        """Look which rows are to be run, and find those again that an earlier sitting left with the executor.

        Args:
            queue: the rows.
            executor: runs them.
            config: how many at a time, and what else.
            tell: called after every change with the row and its state.
        """
        self._queue, self._executor, self._config, self._tell = queue, executor, config, tell
        self._waiting: list[Task] = []
        self._running: dict[str, Task] = {}
        self._killed: Counter[str] = Counter()
        self._began: dict[str, float] = {}
        for task in queue.tasks:
            state = queue.state(task)
            if state.stage == "running" and state.executor == config.executor and self._is_known(state.ticket):
                self._running[state.ticket] = task
                self._began[task.name] = time.perf_counter()
            elif state.stage in ("waiting", "running") or (state.stage == "failed" and config.retry):
                self._waiting.append(task)

    def _is_known(self, ticket: str) -> bool:
        return self._executor.poll(ticket) != LOST

    def run(self, pause: float = 1.0) -> None:
        """Run rows until none is left; when it is interrupted, so are they.

        Args:
            pause: seconds between two looks at them.
        """
        try:
            while self._waiting or self._running:
                while self._waiting and len(self._running) < self._config.jobs:
                    self._begin(next_task(self._waiting, self._running.values()))
                time.sleep(pause)
                for ticket, task in list(self._running.items()):
                    status = self._executor.poll(ticket)
                    if status is not None:
                        del self._running[ticket]
                        self._settle(task, status)
        except BaseException:
            self._cancel(pause)
            raise

    def _begin(self, task: Task) -> None:
        self._waiting.remove(task)
        ticket = self._executor.submit(self._queue.job(task, self._config.cores))
        self._running[ticket] = task
        self._began[task.name] = time.perf_counter()
        self._record(task, RowState("running", task.digest, executor=self._config.executor, ticket=ticket))

    def _settle(self, task: Task, status: int) -> None:
        """Write down what became of a row; one that was killed gets into line again, until that has no sense."""
        seconds = round(time.perf_counter() - self._began[task.name], 1)
        if status == 0 and task.makes.is_file():
            self._record(task, RowState("done", task.digest, seconds=seconds))
            return
        killed = how_killed(status)
        if killed:
            self._killed[task.name] += 1
            if self._killed[task.name] < self._config.attempts:
                self._waiting.insert(0, task)
                self._record(task, RowState("waiting", task.digest, error=(killed,)))
                return
            why = f"{killed}, {self._killed[task.name]} times; {PERHAPS}"
        elif status == 0:
            why = f"it ended without {task.makes}"
        else:
            why = f"it ended with the exit status {status}"
        error = (why, *last_lines(self._queue.log_of(task)))
        self._record(task, RowState("failed", task.digest, seconds=seconds, error=error))

    def _cancel(self, pause: float) -> None:
        """Ask the rows at work to end, and let them clear up; they are waiting then."""
        for ticket in self._running:
            with suppress(OSError, PairstillError):
                self._executor.cancel(ticket)
        asked = time.perf_counter()
        while self._running and time.perf_counter() - asked < ENDING_SECONDS:
            for ticket, task in list(self._running.items()):
                if self._executor.poll(ticket) is not None:
                    del self._running[ticket]
                    self._record(task, RowState("waiting", task.digest))
            time.sleep(pause if self._running else 0.0)

    def _record(self, task: Task, state: RowState) -> None:
        self._tell(task, state.save(self._queue.folder_of(task)))


def next_task(waiting: Sequence[Task], running: Iterable[Task]) -> Task:
    """Return the row to begin: the first whose teachers no row at work has, which might just be training them.

    Where there is none it is the first of all, which waits at the lock of its teachers if they are not there yet.
    """
    taught = {task.teachers for task in running}
    return next((task for task in waiting if task.teachers not in taught), waiting[0])


def how_killed(status: int) -> str | None:
    """Return in words what ended a row that did not end by itself, or None.

    Example:
        >>> how_killed(-9), how_killed(143), how_killed(1)
        ('it was killed by signal 9', 'it was ended by signal 15', None)
    """
    if status == LOST:
        return "its process or machine was lost"
    if status < 0:
        return f"it was killed by signal {-status}"
    return f"it was ended by signal {status - SIGNALS_FROM}" if status > SIGNALS_FROM else None
