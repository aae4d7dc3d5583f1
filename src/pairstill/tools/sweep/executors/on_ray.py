"""Rows as tasks of a Ray cluster, which finds each the cores and GPUs that it asks for."""

import logging
from typing import Any

from pairstill.core.errors import ConfigError
from pairstill.core.extras import need
from pairstill.tools.sweep.executors import LOST
from pairstill.tools.sweep.work import Job, work


class RayExecutor:
    """Rows as tasks of a Ray cluster: the one that RAY_ADDRESS names, or one that begins on this machine."""

    def __init__(self, cpus: int, gpus: int) -> None:
        """Join the cluster.

        Args:
            cpus: cores of each row.
            gpus: GPUs of each row.

        Raises:
            MissingDependencyError: Ray is not installed.
            ConfigError: RAY_ADDRESS names no cluster that answers.
        """
        need("ray", "executor ray")
        import ray  # pyright: ignore[reportMissingImports]

        if not ray.is_initialized():
            try:
                ray.init(logging_level=logging.ERROR, log_to_driver=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ConfigError(
                    f"executor is ray, but none can be joined or begun ({error}); correct RAY_ADDRESS, or leave it out"
                ) from error
        self._ray = ray
        # what is lost is the queue's to begin again, which counts how often
        self._work = ray.remote(work).options(num_cpus=cpus, num_gpus=gpus, max_retries=0)
        self._rows: dict[str, Any] = {}

    def submit(self, job: Job) -> str:
        """Put a row into Ray's line."""
        self._rows[job.name] = self._work.remote(job)
        return job.name

    def poll(self, ticket: str) -> int | None:
        """Return the exit status of a row."""
        row = self._rows.get(ticket)
        if row is None:
            return LOST  # of another sitting, whose tasks ended with it
        if not self._ray.wait([row], timeout=0)[0]:
            return None
        try:
            return self._ray.get(row)
        except (self._ray.exceptions.RayError, KeyboardInterrupt):
            return LOST

    def cancel(self, ticket: str) -> None:
        """Ask a row to end."""
        self._ray.cancel(self._rows[ticket])
