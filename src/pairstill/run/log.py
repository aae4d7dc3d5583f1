"""The metrics of a run: one JSON object per line, and the progress that a person sees."""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairstill.core.errors import StorageError
from pairstill.events import Event, StageBegan, StageEnded

if TYPE_CHECKING:
    import torch

# what tells an event from others of its kind; of those that a resumed run repeats, the last one counts
REPEATED = {
    "teacher_epoch": ("tower", "expert", "epoch"),
    "distill_step": ("phase", "stage", "step"),
    "validation": ("phase", "step"),
    "rates": ("tower", "method", "image", "text"),
    "student": ("tower", "method", "protocol", "student", "measured_as"),
}

MEANT: dict[str, dict[str, Any]] = {
    "teacher_epoch": {"tower": None},
    "distill_step": {"stage": "pixels"},
    "rates": {"tower": None},
    "student": {"measured_as": None, "tower": None},
}
"""What events mean that lack a field: they are older than it, or of one image tower."""

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

SITTING = "sitting"
"""What the first event of a process is called: each works at the run in a sitting of its own."""


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
    events: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, line in enumerate(_lines(path)):
        name = line["event"]
        event = {**MEANT.get(name, {}), **line}
        fields = REPEATED.get(name, ())
        known = [json.dumps(event[field]) for field in fields if field in event]
        events[(name, *known) if fields and len(known) == len(fields) else (number,)] = event
    return list(events.values())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a log as they were written; no file has none."""
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            yield event


def killed_seconds(path: Path) -> dict[str, float]:
    """Return, by stage, the seconds of sittings that were killed in it, each up to its last event.

    What ends by itself, by an error or by an interrupt says so, and its seconds are kept elsewhere. What a kill ended
    after its last event nobody knows. Logs from before stages said that they begin have none.
    """
    found: dict[str, float] = {}
    began: dict[str, float] = {}
    last = 0.0

    def close() -> None:
        for stage, since in began.items():
            found[stage] = round(found.get(stage, 0.0) + max(0.0, last - since), 1)
        began.clear()

    for event in _lines(path):
        name, stage, now = event["event"], event.get("stage"), event.get("time")
        if name == SITTING:
            close()
        elif isinstance(stage, str) and isinstance(now, _NUMBER) and name == StageBegan.name:
            began[stage] = now
        elif name == StageEnded.name:
            began.pop(str(stage), None)
        last = now if isinstance(now, _NUMBER) else last
    close()
    return found


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
