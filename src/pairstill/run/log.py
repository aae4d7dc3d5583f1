"""The metrics of a run: one JSON object per line, and the progress that a person sees."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

from pairstill.core.errors import StorageError
from pairstill.events import Event

if TYPE_CHECKING:
    import torch

# what tells an event from others of its kind; of those that a resumed run repeats, the last one counts
REPEATED = {
    "teacher_epoch": ("expert", "epoch"),
    "distill_step": ("phase", "stage", "step"),
    "validation": ("phase", "step"),
    "student": ("method", "protocol", "student", "measured_as"),
}

MEANT: dict[str, dict[str, Any]] = {"distill_step": {"stage": "pixels"}, "student": {"measured_as": None}}
"""What events meant that were written before they had a field."""

_NUMBER = (int, float)
# what is read of an event; one that lacks a part of it is of no use
NEEDED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "teacher_epoch": {"epoch": int, "loss": _NUMBER, "validation_mean_recall": _NUMBER},
    "distill_step": {
        **{"phase": int, "stage": str, "step": int, "steps": int, "time": _NUMBER},
        "losses": dict,
    },
    "validation": {"phase": int, "step": int, "validation_mean_recall": _NUMBER},
    "stage": {"peak_memory_bytes": int},
}

LINE_SECONDS = 10
"""Seconds between two lines of a task in a file, at least."""


class MetricsLog:
    """Appends events to `metrics.jsonl`; a line cut short by a kill is completed before the next one."""

    def __init__(self, path: Path | None, *, clock: Callable[[], float] = time.time) -> None:
        """Open the log at `path`, creating its folder; None drops every event.

        Args:
            path: the file.
            clock: returns the time of an event, in seconds.

        Raises:
            StorageError: the folder cannot be made, or the log not be completed.
        """
        self.path, self._clock = path, clock
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file() and (content := path.read_bytes()) and not content.endswith(b"\n"):
                _append(path, b"\n")
        except OSError as error:
            raise StorageError.cannot_write(path, error) from error

    def write(self, event: str, **values: Any) -> None:
        """Append one event with its values and the time.

        Args:
            event: what happened, such as `distill_step`.
            values: JSON values; floats must be finite.

        Raises:
            StorageError: the line cannot be written, and no part of it is.
        """
        if self.path is None:
            return
        line = json.dumps({"event": event, "time": round(self._clock(), 3), **values}, allow_nan=False) + "\n"
        try:
            _append(self.path, line.encode())
        except OSError as error:
            raise StorageError.cannot_write(self.path, error) from error

    def hear(self, event: Event) -> None:
        """Append an event of a run, unless it is none for the log."""
        if event.name is not None:
            self.write(event.name, **event.to_json())


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the events of a `metrics.jsonl` in order, each once; no file means no events.

    A run that goes on from a checkpoint does some steps again and logs them again. They are found by `REPEATED`; the
    last one takes the place of the first. A line that a kill cut short is left out. What old events lack, `MEANT` has.
    """
    if not path.is_file():
        return []
    events: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, line in enumerate(path.read_bytes().splitlines()):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(event, dict) or not isinstance(name := event.get("event"), str):
            continue
        event = {**MEANT.get(name, {}), **event}
        fields = REPEATED.get(name, ())
        known = [json.dumps(event[field]) for field in fields if field in event]
        events[(name, *known) if fields and len(known) == len(fields) else (number,)] = event
    return list(events.values())


def whole_events(events: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """Return the events that have all that is read of them, and in a sentence how many have not, or an empty word."""
    events = list(events)
    whole = [event for event in events if _is_whole(event)]
    left_out = len(events) - len(whole)
    return whole, f"{left_out} damaged events of metrics.jsonl are left out." if left_out else ""


def _is_whole(event: dict[str, Any]) -> bool:
    needed = NEEDED.get(event["event"], {})
    if not all(isinstance(event.get(field), kind) for field, kind in needed.items()):
        return False
    return "losses" not in needed or all(isinstance(loss, _NUMBER) for loss in event["losses"].values())


def _append(path: Path, line: bytes) -> None:
    # never what a link points to, and no waiting for the other end of a pipe
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        before = os.fstat(descriptor).st_size
        try:
            if (done := os.write(descriptor, line)) < len(line):
                os.write(descriptor, line[done:])  # what is missing, or why it is
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def peak_memory_bytes(device: "torch.device | None" = None) -> int:
    """Return the most memory that was in use at once: of a GPU's allocator, or else of this process (resident)."""
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


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
    """Progress in a file: a line when a task has done another tenth, but not one after the other, and at its end."""

    def __init__(self, console: Console, ahead: Callable[[], str], clock: Callable[[], float] = time.monotonic) -> None:
        """Print to `console`; `ahead` gives the end of a line, and `clock` seconds."""
        super().__init__(console=console, disable=True, get_time=clock)
        self._ahead = ahead
        self._told: dict[TaskID, tuple[float, float]] = {}
        """How much was done at a task's last line, and when that was."""

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
        self._told[task.id] = (task.completed, self.get_time())
        line = f"{task.description}: {task.completed:,} of {task.total or 0:,}"
        if task.finished_time is not None:
            line += f" in {timedelta(seconds=round(task.finished_time))}"
        parts = (line, task.fields.get("status"), self._ahead())
        self.console.print(", ".join(filter(None, parts)), soft_wrap=True, markup=False, highlight=False)


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
        return LineProgress(console, ahead)

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
