"""Shortcut trajectories (Eq. 4-5): straight from theta_0 to an endpoint, paced by each layer's own step norms."""

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from pairstill.config import PhaseConfig, TrajectoryConfig
from pairstill.core.errors import ConfigError
from pairstill.model.dual_encoder import Parameters
from pairstill.teachers.trajectory import Trajectory

PATHS_IN_MEMORY = 8
"""Paths of teachers that stay in memory."""


def shortcut_pace(step_norms: Tensor, endpoint: int) -> Tensor:
    """Return beta_p^l(t) for t = 0..endpoint (Eq. 5).

    beta(t) is the part of a layer's path length up to the endpoint that lies before epoch t: beta(0) = 0 and
    beta(endpoint) = 1. A layer that never moves has beta = 0 throughout.

    Args:
        step_norms: |theta_{k+1}^l - theta_k^l|, (layers, epochs), at least `endpoint` epochs.
        endpoint: the epoch t_p.

    Returns:
        (layers, endpoint + 1).

    Example:
        >>> shortcut_pace(torch.tensor([[3.0, 1.0], [0.0, 0.0]]), 2).tolist()
        [[0.0, 0.75, 1.0], [0.0, 0.0, 0.0]]
    """
    if not 1 <= endpoint <= step_norms.shape[1]:
        raise ConfigError(f"endpoint is {endpoint}; the trajectory has epochs 1..{step_norms.shape[1]}")
    lengths = step_norms[:, :endpoint].cumsum(1)
    total = lengths[:, -1:]
    pace = torch.where(total > 0, lengths / total.clamp_min(torch.finfo(total.dtype).tiny), 0.0)
    return torch.cat([torch.zeros_like(total), pace], 1)


@dataclass(frozen=True)
class TeacherPath:
    """The parameters that a phase may match, by epoch: a shortcut or the recorded trajectory.

    Attributes:
        initial: theta_0.
        pace: beta (layers, epochs) of a shortcut, or None for the recorded snapshots.
        displacements: theta - theta_0 by epoch: only the endpoint's for a shortcut.
    """

    initial: Parameters
    pace: Tensor | None
    displacements: dict[int, Parameters]

    def at(self, epoch: float) -> Parameters:
        """Return fresh copies of the parameters at `epoch`; on a shortcut it may lie between two epochs."""
        if epoch == 0:
            return {name: value.clone() for name, value in self.initial.items()}
        if self.pace is None:
            return {name: value + self.displacements[int(epoch)][name] for name, value in self.initial.items()}
        (endpoint_move,) = self.displacements.values()
        before = int(epoch)
        pace = self.pace[:, before]
        if epoch > before:
            pace = pace.lerp(self.pace[:, before + 1], epoch - before)
        betas = pace.tolist()
        return {
            name: value + beta * endpoint_move[name]
            for (name, value), beta in zip(self.initial.items(), betas, strict=True)
        }


def shortcut_path(trajectory: Trajectory, endpoint: int, device: torch.device) -> TeacherPath:
    """Return the shortcut of an expert to `endpoint`; nothing but theta_0 and the endpoint is read.

    (1 - beta) theta_0 + beta theta_endpoint is formed as theta_0 + beta (theta_endpoint - theta_0).
    """
    return TeacherPath(
        _on(trajectory.initial(), device),
        shortcut_pace(trajectory.step_norms, endpoint),
        {endpoint: _on(trajectory.displacement(endpoint), device)},
    )


def recorded_path(trajectory: Trajectory, first: int, last: int, device: torch.device) -> TeacherPath:
    """Return the recorded snapshots `first` to `last` of an expert, without a shortcut."""
    epochs = [epoch for epoch in range(first, last + 1) if epoch > 0]
    moves = {epoch: _on(trajectory.displacement(epoch), device) for epoch in epochs}
    return TeacherPath(_on(trajectory.initial(), device), None, moves)


def _on(parameters: Parameters, device: torch.device) -> Parameters:
    return {name: value.to(device) for name, value in parameters.items()}


class TeacherPaths(Protocol):
    """The paths that a phase may match, one for each expert."""

    def __len__(self) -> int:
        """Return the number of experts."""
        ...

    def __getitem__(self, expert: int) -> TeacherPath:
        """Return the path of an expert, read when it is asked for."""
        ...

    def prefetch(self, experts: Sequence[int]) -> None:
        """Begin to read the paths of experts that will be asked for next."""
        ...


class ExpertPaths:
    """The paths of one phase, read when they are needed or just before; the last few stay in memory."""

    def __init__(
        self,
        experts: list[Path],
        phase: PhaseConfig,
        config: TrajectoryConfig,
        device: torch.device,
        *,
        in_memory: int = PATHS_IN_MEMORY,
    ) -> None:
        """Serve shortcuts to the phase's endpoint, or the recorded snapshots when shortcuts are off.

        Args:
            experts: their files.
            phase: the phase.
            config: the distillation's settings.
            device: where paths are put.
            in_memory: how many paths stay.
        """
        self._experts, self._in_memory = experts, in_memory

        def read(expert: int) -> TeacherPath:
            trajectory = Trajectory.open(experts[expert])
            if config.shortcut:
                return shortcut_path(trajectory, phase.endpoint, device)
            last = config.last_start(phase) + config.matching_span
            return recorded_path(trajectory, phase.range_start, last, device)

        self._read = read
        self._reading: OrderedDict[int, Future[TeacherPath]] = OrderedDict()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="expert-reader")

    def __len__(self) -> int:
        """Return the number of experts."""
        return len(self._experts)

    def __getitem__(self, expert: int) -> TeacherPath:
        """Return the path of an expert, waiting for it if it is being read."""
        self.prefetch([expert])
        return self._reading[expert].result()

    def prefetch(self, experts: Sequence[int]) -> None:
        """Begin to read the paths of `experts` in the background; forget the longest unused beyond the limit."""
        for expert in experts:
            if expert not in self._reading:
                self._reading[expert] = self._reader.submit(self._read, expert)
            self._reading.move_to_end(expert)
        while len(self._reading) > max(self._in_memory, len(experts)):
            self._reading.popitem(last=False)
