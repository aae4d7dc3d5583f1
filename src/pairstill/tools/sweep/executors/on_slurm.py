"""Rows as jobs of Slurm, through submitit."""

from pathlib import Path
from typing import Any

from pairstill.core.errors import ConfigError
from pairstill.core.extras import need
from pairstill.tools.sweep.executors import LOST
from pairstill.tools.sweep.settings import QueueConfig
from pairstill.tools.sweep.work import Job, work

WEEK = 7 * 24 * 60
"""Minutes that a job may take if `slurm` says nothing else; submitit's own default is five."""


class SlurmExecutor:
    """Rows as jobs of Slurm; they outlive this process, and are found again by their numbers."""

    def __init__(self, folder: Path, config: QueueConfig, cluster: str = "slurm") -> None:
        """Look whether there is a Slurm.

        Args:
            folder: receives what submitit writes: calls, results and logs. It reads them as pickles, so nobody else
                may write there.
            config: what each row is given.
            cluster: `slurm`, or `local` for processes of this machine in place of jobs.

        Raises:
            MissingDependencyError: submitit is not installed.
            ConfigError: there is no Slurm, or it takes no such parameters.
        """
        need("submitit", "executor slurm")
        import submitit  # pyright: ignore[reportMissingImports]

        asked = {"timeout_min": WEEK, "cpus_per_task": config.cores, "gpus_per_node": config.gpus, **config.slurm}
        try:
            self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
            self._executor.update_parameters(**asked)
        except RuntimeError as error:
            raise ConfigError(f"executor is slurm, but there is none here ({error}); take --executor local") from error
        except (NameError, TypeError, ValueError, AssertionError) as error:
            raise ConfigError(f"slurm is {config.slurm}, which submitit refuses: {error}") from error
        self._folder, self._uncompleted = folder, submitit.core.utils.UncompletedJobError
        self._failed = submitit.core.utils.FailedJobError
        self._kind = submitit.SlurmJob if cluster == "slurm" else submitit.LocalJob
        self._jobs: dict[str, Any] = {}

    def submit(self, job: Job) -> str:
        """Put a row into Slurm's line, and return the number of its job.

        Raises:
            ConfigError: Slurm refuses it.
        """
        try:
            submitted = self._executor.submit(work, job)
        except self._failed as error:
            raise ConfigError(f"Slurm does not take a job ({error}); correct --slurm, --cpus or --gpus") from error
        self._jobs[submitted.job_id] = submitted
        return submitted.job_id

    def poll(self, ticket: str) -> int | None:
        """Return the exit status of a row, of another sitting too."""
        job = self._job(ticket)
        if not job.done():
            return None
        try:
            return job.result()
        except (self._uncompleted, self._failed):
            return LOST  # out of time, ended by Slurm, or its machine is gone

    def cancel(self, ticket: str) -> None:
        """Ask a row to end."""
        self._job(ticket).cancel(check=False)

    def _job(self, ticket: str) -> Any:
        if ticket not in self._jobs:
            self._jobs[ticket] = self._kind(folder=self._folder, job_id=ticket)
        return self._jobs[ticket]
