"""The teachers' paths of a phase, read in the background."""

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import torch

from pairstill.config import PhaseConfig, TrajectoryConfig
from pairstill.teachers.shortcut import TeacherPath, recorded_path, shortcut_path
from pairstill.teachers.trajectory import Trajectory

PATHS_IN_MEMORY = 8


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
