"""Settings of a sweep and of the queue of its rows; imports nothing heavy."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pairstill.config.bounds import check_bounds
from pairstill.core.errors import ConfigError

ExecutorName = Literal["local", "ray", "slurm"]


@dataclass(frozen=True)
class QueueConfig:
    """How rows are run: how many at a time, and by whom.

    Attributes:
        jobs: rows at a time, each a process of its own; `reproduce` measures them in its own process while this is 1
            and `executor` is `local`.
        executor: who runs them: `local` this machine; `ray` the cluster that RAY_ADDRESS names, or without it one that
            is begun on this machine; `slurm` jobs of Slurm. The last two need the extra of the same name, and folders
            that all machines see.
        cpus: cores of each row, and its threads unless the settings say how many; null divides this machine's among
            the jobs, and is 1 for `ray` and `slurm`.
        gpus: GPUs that `ray` and `slurm` give each row.
        slurm: more parameters of the Slurm jobs, as submitit names them, such as
            `{slurm_partition: gpu, timeout_min: 600}`.
        attempts: how often a row is begun in one sitting that is killed each time.
        retry: take rows that failed again.
    """

    jobs: int = 1
    executor: ExecutorName = "local"
    cpus: int | None = None
    gpus: int = 0
    slurm: dict[str, Any] = field(default_factory=dict)
    attempts: int = 3
    retry: bool = False

    def __post_init__(self) -> None:
        check_bounds(self)
        for name, least in (("jobs", 1), ("cpus", 1), ("gpus", 0), ("attempts", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} is {value}; it must be at least {least}")
        if self.gpus and self.executor == "local":
            raise ConfigError(
                f"gpus is {self.gpus}, but the executor local gives out none: rows take the GPU of --device; leave "
                "gpus out, or take --executor ray, which gives each row its own, on one machine too"
            )
        if self.slurm and self.executor != "slurm":
            raise ConfigError(f"slurm is given, but the executor is {self.executor}; leave it out, or --executor slurm")

    @property
    def cores(self) -> int:
        """Cores of each row."""
        if self.cpus is not None:
            return self.cpus
        return max(1, usable_cores() // self.jobs) if self.executor == "local" else 1


@dataclass(frozen=True)
class SweepConfig:
    """Rows of settings that differ in a grid, each with several seeds.

    Attributes:
        settings: YAML files of settings, as `--config` of `pairstill run`; later ones win.
        grid: NAME=VALUE,VALUE: a setting of `run` and the values that it takes; with several, every combination is a
            row. A value that holds a comma stands in quotes or brackets.
        set: NAME=VALUE: a setting of all rows, on top of the files.
        seeds: seeds of every row, counted up from that of the settings; each has its own teachers.
        out: folder that receives the rows' runs, their logs and states, and the table.
    """

    settings: tuple[str, ...] = ()
    grid: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    seeds: int = 1
    out: str = "runs/sweep"

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.seeds < 1:
            raise ConfigError(f"seeds is {self.seeds}; it must be above 0")
        if not self.out:
            raise ConfigError("out is empty; name a folder, or `.` for the one that you are in")

    @property
    def options(self) -> list[str]:
        """The options of `pairstill run` that all rows have."""
        return [*(f"--config={path}" for path in self.settings), *(f"--{each}" for each in self.set)]

    def to_json(self) -> Mapping[str, Any]:
        """Return what a folder says of the sweep that it holds."""
        return {"settings": list(self.settings), "grid": list(self.grid), "set": list(self.set), "seeds": self.seeds}


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
