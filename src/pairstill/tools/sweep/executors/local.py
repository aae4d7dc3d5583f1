"""Rows as processes of this machine."""

import signal
import subprocess

from pairstill.core.errors import BusyError
from pairstill.tools.sweep.executors import LOST
from pairstill.tools.sweep.work import Job, begin


class LocalExecutor:
    """Rows as processes of this machine; those that another sitting left at work are waited for."""

    def __init__(self) -> None:
        """Begin without rows."""
        self._jobs: dict[str, Job] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def submit(self, job: Job) -> str:
        """Begin a row."""
        self._jobs[job.name] = job
        self._processes.pop(job.name, None)
        self._begin(job)
        return job.name

    def _begin(self, job: Job) -> None:
        try:
            self._processes[job.name] = begin(job, apart=True)
        except BusyError:
            return  # it is tried again when the row is asked about

    def poll(self, ticket: str) -> int | None:
        """Return the exit status of a row."""
        if ticket not in self._jobs:
            return LOST
        if ticket in self._processes:
            return self._processes[ticket].poll()
        self._begin(self._jobs[ticket])
        return None

    def cancel(self, ticket: str) -> None:
        """Ask a row to end; one that another sitting left at work goes on, and is waited for no longer."""
        if ticket not in self._processes:
            self._jobs.pop(ticket, None)
        else:
            self._processes[ticket].send_signal(signal.SIGTERM)
