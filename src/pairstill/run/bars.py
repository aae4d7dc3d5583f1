"""Bars of what is done: on a terminal with where the whole stands above them, in a file as lines."""

import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

LINE_SECONDS = 10
"""Seconds between two lines of a task in a file, at least."""
SPEED_SECONDS = 3600
"""Seconds back from which the speed of a task in a file is taken: a step may take minutes."""
SILENT_SECONDS = 60
"""Seconds without a line in a file, while something is done, after which one says where it stands."""


class HeadedProgress(Progress):
    """Bars below a line that says where the whole stands; a task without anything to do has no bar."""

    def __init__(self, *columns: ProgressColumn, console: Console, heading: Callable[[], str]) -> None:
        """Show `heading`, asked anew whenever the bars are drawn, above the bars; an empty one takes no line."""
        self._heading = heading
        super().__init__(*columns, console=console, expand=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the heading and the bars."""
        heading = self._heading()
        if heading:
            yield Text(heading, style="bold", no_wrap=True, overflow="ellipsis")
        yield self.make_tasks_table([task for task in self.tasks if task.total != 0])

    def stop(self) -> None:
        """Leave the bars on the terminal as they are; without any, leave nothing."""
        self.live.transient = not any(task.total for task in self.tasks)
        super().stop()


class LineProgress(Progress):
    """Progress in a file: a line when a task has done another tenth, but not one after the other, and at its end.

    After a minute without a line there is one that says where the whole stands, from a thread of its own: a single
    step may take longer.
    """

    def __init__(
        self,
        console: Console,
        ahead: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
        heading: Callable[[], str] = lambda: "",
    ) -> None:
        """Print nothing yet.

        Args:
            console: where to.
            ahead: gives the end of a line: what is left.
            clock: gives seconds.
            heading: gives where the whole stands, and what is left.
        """
        super().__init__(console=console, disable=True, get_time=clock, speed_estimate_period=SPEED_SECONDS)
        self._ahead, self._heading = ahead, heading
        self._told: dict[TaskID, tuple[float, float]] = {}
        """How much was done at a task's last line, and when that was."""
        self._last_line = clock()
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to watch for silence."""
        self._last_line = self.get_time()
        if not self.console.quiet:
            self._beats.start()

    def _watch(self) -> None:
        while not self._ended.wait(SILENT_SECONDS / 4):
            self.break_silence()

    def break_silence(self) -> None:
        """Print where it stands, if nothing was printed for a minute: the stage, the last task, the time left."""
        with self._lock:
            open_tasks = [task for task in self.tasks if task.total != 0 and not task.finished]
            if not open_tasks or self.get_time() - self._last_line < SILENT_SECONDS:
                return
            task = open_tasks[-1]
            self._told[task.id] = (task.completed, self.get_time())
            heading, left = self._heading(), task.time_remaining
            if " left" not in heading and left:
                heading = ", ".join(filter(None, (heading, f"about {timedelta(seconds=round(left))} left of this")))
            self._line(_counted(task), task.fields.get("status"), heading)

    def add_task(
        self,
        description: str,
        start: bool = True,
        total: float | None = 100.0,
        completed: int = 0,
        visible: bool = True,
        **fields: Any,
    ) -> TaskID:
        """Add a task, of which nothing is printed yet."""
        task = super().add_task(description, start, total, completed, visible, **fields)
        self._told[task] = (completed, self.get_time())
        return task

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Advance a task."""
        super().advance(task_id, advance)
        self._tell(self._tasks[task_id])

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Change a task, as the library does."""
        super().update(task_id, **changes)
        self._tell(self._tasks[task_id])

    def stop(self) -> None:
        """Print how far the tasks are that end early."""
        self._ended.set()
        if self._beats.is_alive():
            self._beats.join()
        for task in self.tasks:
            if task.completed != self._told[task.id][0]:
                self._print(task)

    def _tell(self, task: Task) -> None:
        done, when = self._told[task.id]
        if not task.total or task.completed <= done:
            return
        tenths = int(10 * task.completed / task.total) - int(10 * done / task.total)
        if task.finished or (tenths > 0 and self.get_time() - when >= LINE_SECONDS):
            self._print(task)

    def _print(self, task: Task) -> None:
        with self._lock:
            self._told[task.id] = (task.completed, self.get_time())
            line = _counted(task)
            if task.finished_time is not None:
                line += f" in {timedelta(seconds=round(task.finished_time))}"
            self._line(line, task.fields.get("status"), self._ahead())

    def _line(self, *parts: str | None) -> None:
        self._last_line = self.get_time()
        self.console.print(", ".join(filter(None, parts)), soft_wrap=True, markup=False, highlight=False)


def _counted(task: Task) -> str:
    """Return how far a task is; of one whose end nobody knows yet, what is done of it."""
    total = "" if task.total is None else f" of {task.total:,}"
    return f"{task.description}: {task.completed:,}{total}"


def progress_bar(
    console: Console, heading: Callable[[], str] = lambda: "", ahead: Callable[[], str] = lambda: ""
) -> Progress:
    """Return a progress display with stage, count, remaining time, and a `status` text per task.

    On a narrow terminal the status is cut; counts and times never are. Where there is no terminal, there are lines.

    Args:
        console: where it is shown.
        heading: gives the line above the bars.
        ahead: gives the end of a line in a file: what is left.
    """
    if not (console.is_terminal or console.is_jupyter):
        return LineProgress(console, ahead, heading=heading)

    def whole() -> Column:
        return Column(no_wrap=True)

    return HeadedProgress(
        TextColumn("{task.description}", table_column=whole(), markup=False),
        BarColumn(bar_width=16, table_column=whole()),
        MofNCompleteColumn(table_column=whole()),
        TimeRemainingColumn(elapsed_when_finished=True, table_column=whole()),
        TextColumn(
            "{task.fields[status]}",
            style="dim",
            table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            markup=False,
        ),
        console=console,
        heading=heading,
    )
