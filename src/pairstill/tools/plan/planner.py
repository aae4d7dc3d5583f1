"""The plan of a run."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from pairstill.config import RunConfig, TrajectoryConfig
from pairstill.core.errors import ConfigError
from pairstill.distill.auto_phases import PhaseRange, most_phases, sized_phases
from pairstill.distill.bilevel.memory import device_bytes
from pairstill.evaluate.protocol import recalls_on
from pairstill.events import Emit, Probing, silent
from pairstill.methods import METHODS, find_method, with_method
from pairstill.run.context import RunContext
from pairstill.run.evaluate import as_seen
from pairstill.run.folder import RunFolder
from pairstill.run.teach import teachers_there
from pairstill.tools.plan.counts import count
from pairstill.tools.plan.distill import probe_distillation
from pairstill.tools.plan.fit import (
    PlannedMode,
    cache_bytes,
    distilled_bytes,
    free_disk_bytes,
    planned_modes,
    trajectory_bytes,
    warnings_of,
)
from pairstill.tools.plan.probe import batch_seconds, encoding_seconds, probe_context, seconds_of, write_expert
from pairstill.tools.plan.stages import Found, PlannedStage, Speeds, planned_stages
from pairstill.tools.plan.students import StudentSpeeds, student_speeds


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will take on this machine, with the teachers that are there already.

    Attributes:
        stages: predicted seconds, in the order of the run.
        seconds_per_step: seconds of an outer step of each phase.
        expert_bytes: one expert's file.
        trajectory_bytes: all experts that are not there yet, and what they share.
        cache_bytes: the cache's rows: images as pixels or features, and embeddings of captions.
        disk_bytes: all that the run writes: trajectories, checkpoints, distilled set, and the cache's rows.
        free_disk_bytes: free where the run's folder lies.
        modes: predicted memory by mode.
        chosen_mode: the mode that the settings lead to.
        memory_bytes: the device's memory.
        warnings: what will not fit, and the settings that would make it fit.
    """

    stages: tuple[PlannedStage, ...]
    seconds_per_step: tuple[float, ...]
    expert_bytes: int
    trajectory_bytes: int
    cache_bytes: int
    disk_bytes: int
    free_disk_bytes: int
    modes: tuple[PlannedMode, ...]
    chosen_mode: str
    memory_bytes: int
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {**asdict(self), "seconds": sum(stage.seconds for stage in self.stages)}


def make_plan(config: RunConfig, emit: Emit = silent, *, free_bytes: Callable[[Path], int] = free_disk_bytes) -> Plan:
    """Probe the run that `config` describes and return what it will take; nothing is written to its folder.

    Args:
        config: the run's settings.
        emit: told what is probed next.
        free_bytes: returns the free bytes of the disk that a path will be on.

    Raises:
        PairstillError: what the run itself would raise for these settings and pairs.
    """
    config = with_method(config)
    if not find_method(config.method).matches_trajectories:
        raise ConfigError(
            f"method {config.method} matches no trajectories; plan knows the methods that do: "
            + ", ".join(method.name for method in METHODS if method.matches_trajectories)
        )
    config = replace(config, distill=_stand_in(config))
    with TemporaryDirectory(prefix="pairstill-plan-") as folder:
        probe = probe_context(replace(config, run_dir=str(Path(folder) / "run")))
        with probe.torch_state():
            return _plan(config, probe, Path(folder), emit, free_bytes(Path(config.run_dir)))


def _stand_in(config: RunConfig) -> TrajectoryConfig:
    """Return the distillation's settings; in place of phases that set themselves, as many equal ones as there may be.

    What a phase takes depends on its pairs and steps, not on where it starts and ends.
    """
    distill, auto = config.matching, config.auto_phases
    if auto is None:
        return distill
    steps = sum(phase.outer_steps for phase in distill.phases)
    most = most_phases(auto, distill.num_pairs, steps) if distill.phased else 1
    last = PhaseRange(0, config.teacher.epochs - distill.matching_span, config.teacher.epochs, 1.0)
    equal = sized_phases([last] * most, torch.ones(config.teacher.epochs), distill.num_pairs, steps, auto.min_pairs)
    return replace(distill, phases=equal)


def _plan(config: RunConfig, probe: RunContext, folder: Path, emit: Emit, free: int) -> Plan:
    emit(Probing(what="pairs"))
    train = probe.splits.train
    counts = count(config, train.num_images, train.num_captions)
    there = [teachers_there(tower, RunFolder(config, writes=False)) for tower in probe.towers]
    experts, found = _probed(probe, sum(there), folder, emit)
    distillation, memory = found.distillation, device_bytes(probe.device)
    trajectories = sum(
        trajectory_bytes(expert, config.teacher.num_experts - known)
        for expert, known in zip(experts, there, strict=True)
    )
    rows = cache_bytes(probe)
    disk = trajectories + rows + distilled_bytes(distillation.distilled)
    modes = planned_modes(distillation, config.matching, memory)
    return Plan(
        stages=planned_stages(config, counts, found),
        seconds_per_step=distillation.step_seconds,
        expert_bytes=experts[0].stat().st_size,
        trajectory_bytes=trajectories,
        cache_bytes=rows,
        disk_bytes=disk,
        free_disk_bytes=free,
        modes=modes,
        chosen_mode=distillation.mode,
        memory_bytes=memory,
        warnings=warnings_of(config, modes, distillation.mode, disk, free),
    )


def _probed(probe: RunContext, teachers: int, folder: Path, emit: Emit) -> tuple[list[Path], Found]:
    """Return the file of a made-up teacher behind each image tower, and what everything took, summed over the towers.

    Args:
        probe: the run on made-up rows.
        teachers: how many are there already.
        folder: where the probe may write.
        emit: told what is probed next.
    """
    emit(Probing(what="encoding and teachers"))
    encoding = sum(encoding_seconds(tower) for tower in probe.towers)
    speeds = [_speeds(tower) for tower in probe.towers]
    experts = [write_expert(tower, folder / str(number)) for number, tower in enumerate(probe.towers)]
    emit(Probing(what="distillation"))
    distillation = probe_distillation(probe, experts, folder)
    emit(Probing(what="students"))
    students = [student_speeds(tower, as_seen(tower, distillation.distilled)) for tower in probe.towers]
    return experts, Found(encoding, teachers, Speeds.total(speeds), distillation, StudentSpeeds.total(students))


def _speeds(probe: RunContext) -> Speeds:
    model, initial = probe.factory.build(), probe.factory.initial_parameters("plan")
    return Speeds(
        batch=batch_seconds(probe),
        val_recall=seconds_of(lambda: recalls_on(model, initial, probe.splits.val), probe.device),
        test_recall=seconds_of(lambda: recalls_on(model, initial, probe.splits.test), probe.device),
    )
