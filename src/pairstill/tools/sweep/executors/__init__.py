"""Who runs the rows of a queue: this machine, a Ray cluster, or Slurm."""

from pathlib import Path
from typing import Protocol, assert_never

from pairstill.tools.sweep.settings import QueueConfig
from pairstill.tools.sweep.work import Job

LOST = -(2**15)
"""The exit status of a row that nobody knows of any more, such as on a machine that is gone."""


class Executor(Protocol):
    """Where rows run."""

    def submit(self, job: Job) -> str:
        """Begin a row, or put it into line, and return the ticket under which it is known."""
        ...

    def poll(self, ticket: str) -> int | None:
        """Return the exit status of a row; None while it goes on, negative for the signal that killed it, or `LOST`."""
        ...

    def cancel(self, ticket: str) -> None:
        """Ask a row to end."""
        ...


def choose_executor(config: QueueConfig, folder: Path) -> Executor:
    """Return the executor that is asked for.

    Args:
        config: the queue's.
        folder: of the queue.

    Raises:
        MissingDependencyError: its package is not installed.
    """
    match config.executor:
        case "local":
            from pairstill.tools.sweep.executors.local import LocalExecutor

            return LocalExecutor()
        case "ray":
            from pairstill.tools.sweep.executors.on_ray import RayExecutor

            return RayExecutor(config.cores, config.gpus)
        case "slurm":
            from pairstill.tools.sweep.executors.on_slurm import SlurmExecutor

            return SlurmExecutor(folder / ".slurm", config)
    assert_never(config.executor)
