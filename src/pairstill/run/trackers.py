"""Optional trackers, which show a run's metrics while it runs; `metrics.jsonl` stays the truth.

A tracker that fails is told of once and left out from then on: no run stops because of it.
"""

import sys
import uuid
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, assert_never

from pairstill.core.extras import need
from pairstill.events import (
    Emit,
    Event,
    Notice,
    OuterStep,
    StageEnded,
    StudentMeasured,
    TeacherEpoch,
    Validated,
    silent,
)
from pairstill.storage import read_object, write_json

TrackerName = Literal["wandb", "trackio", "tensorboard"]
PROJECT = "pairstill"


@dataclass(frozen=True)
class Points:
    """What one event adds to the curves of a tracker.

    Attributes:
        group: name of the curves' group, such as `distill/phase_1/pixels`.
        step: where on the curves, or None for a single number.
        values: numbers by the name of their curve.
    """

    group: str
    step: int | None
    values: Mapping[str, float]

    def by_name(self) -> dict[str, float]:
        """Return the numbers by the full names of their curves."""
        return {f"{self.group}/{name}": value for name, value in self.values.items()}


def points_of(event: Event) -> Points | None:
    """Return the points of an event, or None if it has no curve.

    Example:
        >>> points_of(Validated(phase=1, step=25, validation_mean_recall=31.5))
        Points(group='distill/phase_1', step=25, values={'validation_mean_recall': 31.5})
    """
    match event:
        case TeacherEpoch():
            shown = {"loss": event.loss, "validation_mean_recall": event.validation_mean_recall}
            return Points(f"teach/{_of(event.tower)}expert_{event.expert}", event.epoch, shown)
        case OuterStep():
            losses = {f"loss_{part}": value for part, value in event.losses.items()}
            rates = {name: value for name, value in event.rates.items() if name.startswith("inner_lr_")}
            return Points(f"distill/phase_{event.phase}/{event.stage}", event.step, losses | rates)
        case Validated():
            recall = {"validation_mean_recall": event.validation_mean_recall}
            return Points(f"distill/phase_{event.phase}", event.step, recall)
        case StudentMeasured():
            group = f"evaluate/{_of(event.tower)}{event.protocol}/{event.method}"
            return Points(group, event.student, {"mean_recall": event.mean_recall})
        case StageEnded():
            return Points(f"stages/{event.stage}", None, {"seconds": event.seconds})
        case _:
            return None


def _of(tower: str | None) -> str:
    """Return the part of a curve's name that says which of several image towers it is of."""
    return "" if tower is None else f"{tower}/"


class Tracker:
    """Passes a run's events on to a tracker."""

    def __init__(self, name: TrackerName, folder: Path, settings: Mapping[str, Any], emit: Emit = silent) -> None:
        """Open the tracker's run that belongs to the run in `folder`; a run that goes on goes on there too.

        Args:
            name: the tracker.
            folder: the run's folder.
            settings: the run's settings, as JSON values.
            emit: told, once, when the tracker fails.

        Raises:
            MissingDependencyError: the tracker's package is not installed.
        """
        need(name, f"tracker {name}")
        self._name, self._emit = name, emit
        self._send: Callable[[Points], None] | None = None
        self._guarded(lambda: self._open(name, folder, settings))

    def hear(self, event: Event) -> None:
        """Send an event's points, if it has any."""
        points = points_of(event)
        if points is not None and self._send is not None:
            send = self._send
            self._guarded(lambda: send(points))

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do the work; trackers reach over networks and disks, and whatever they raise must not end the run."""
        try:
            work()
        except Exception as error:
            self._send = None
            reason = f"{type(error).__name__}: {error}"
            said = f"{self._name} failed ({reason}); the run goes on without it, metrics.jsonl has everything"
            self._emit(Notice(text=said))

    def _open(self, name: TrackerName, folder: Path, settings: Mapping[str, Any]) -> None:
        with redirect_stdout(sys.stderr):  # what they have to say is not the command's output
            match name:
                case "wandb":
                    self._send = _wandb(folder, settings)
                case "trackio":
                    self._send = _trackio(folder, settings)
                case "tensorboard":
                    self._send = _tensorboard(folder)
                case _:
                    assert_never(name)


def _identity(folder: Path) -> str:
    """Return the name under which trackers know this run folder, made when it is first asked for."""
    path = folder / "tracker.json"
    if not path.is_file():
        write_json(path, {"id": uuid.uuid4().hex})
    return str(read_object(path, "id")["id"])


def _wandb(folder: Path, settings: Mapping[str, Any]) -> Callable[[Points], None]:
    run: Any = import_module("wandb").init(
        project=PROJECT,
        name=folder.resolve().name,
        id=_identity(folder),
        resume="allow",
        dir=str(folder),
        config=dict(settings),
    )
    known: set[str] = set()

    def send(points: Points) -> None:
        step = f"{points.group}/step"
        if points.step is not None and points.group not in known:
            known.add(points.group)
            run.define_metric(step, hidden=True)
            for curve in points.by_name():
                run.define_metric(curve, step_metric=step)
        run.log(points.by_name() | ({} if points.step is None else {step: points.step}))

    return send


def _trackio(folder: Path, settings: Mapping[str, Any]) -> Callable[[Points], None]:
    name = f"{folder.resolve().name}-{_identity(folder)[:8]}"
    trackio: Any = import_module("trackio")
    run: Any = trackio.init(project=PROJECT, name=name, resume="allow", config=dict(settings), embed=False)
    return lambda points: run.log(points.by_name(), step=points.step)


def _tensorboard(folder: Path) -> Callable[[Points], None]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def send(points: Points) -> None:
        for curve, value in points.by_name().items():
            writer.add_scalar(curve, value, points.step)
        writer.flush()

    return send
