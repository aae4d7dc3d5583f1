"""A row as a process of its own; other machines import this module, so it is light.

The process inherits the lock of its row's folder. So however the sweep or a cluster's worker ends, the row is known to
be at work as long as it is, and is never run twice at a time.
"""

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pairstill.core.errors import BusyError
from pairstill.storage.locks import to_hand_over
from pairstill.tools.sweep.state import SITTING

LOG = "log.txt"
ENDING_SECONDS = 30.0
"""How long a row may take to write down where it is, once it is asked to end."""
NAP = 0.2


@dataclass(frozen=True)
class Job:
    """A row as an executor gets it.

    Attributes:
        name: of the row.
        command: the program and its arguments.
        folder: holds the row's lock and log.
        cwd: folder in which the command runs, as relative paths in settings ask for.
        threads: of the libraries that the tensor library calls.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    cwd: Path
    threads: int

    @property
    def log(self) -> Path:
        """The file that receives what the command writes, after what it wrote in earlier sittings."""
        return self.folder / LOG


def begin(job: Job, *, apart: bool = False) -> "subprocess.Popen[bytes]":
    """Begin a row's process.

    Args:
        job: the row.
        apart: whether signals to this process's group, such as Ctrl-C, pass the row by.

    Raises:
        BusyError: a process of an earlier sitting still works on the row.
    """
    with to_hand_over(job.folder) as descriptor, job.log.open("ab") as log:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        log.write(f"{SITTING}{when} {' '.join(job.command)}\n".encode())
        log.flush()
        return subprocess.Popen(
            job.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=job.cwd,
            env={**os.environ, "OMP_NUM_THREADS": str(job.threads)},
            pass_fds=(descriptor,),
            start_new_session=apart,
        )


def work(job: Job) -> int:
    """Run a row and return its exit status, negative for the signal that killed it; clusters call it.

    It waits in short naps: Ray's way to interrupt a task does not wake one that waits for a process or a lock.
    """
    process = _begin_when_free(job)
    try:
        while (status := process.poll()) is None:
            time.sleep(NAP)
        return status
    except BaseException:
        end(process)
        raise


def _begin_when_free(job: Job) -> "subprocess.Popen[bytes]":
    while True:
        try:
            return begin(job)
        except BusyError:
            time.sleep(NAP)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a row's process to end, which it does after it has cleared up, and make it."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(ENDING_SECONDS)
    if process.poll() is None:
        process.kill()
        process.wait()
