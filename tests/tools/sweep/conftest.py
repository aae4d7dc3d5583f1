"""A program that stands in for pairstill: it does what the settings of a row say, in a moment."""

import sys
from pathlib import Path

import pytest

from pairstill.tools.sweep.queue import Queue, Task

STAND_IN = r"""
import os, signal, sys, time
from pathlib import Path

command, config, *rest = sys.argv[1:]
said = dict(line.split(": ") for line in Path(config.partition("=")[2]).read_text().splitlines())
makes, tries = Path(said["makes"]), Path(said["makes"] + ".tries")
Path(said["makes"] + ".pids").write_text(f"{os.getpid()} {os.getppid()}")
with tries.open("a") as stream:
    stream.write(" ".join([command, *rest, "OMP", os.environ["OMP_NUM_THREADS"]]) + "\n")
count = len(tries.read_text().splitlines())
do = said["do"].split(",")
act = do[min(count, len(do)) - 1]
print("doing", act, flush=True)
if act == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if act == "fail":
    sys.exit("there is no such thing")
if act == "wait":
    while not makes.with_suffix(".go").exists():
        time.sleep(0.01)
if act != "nothing":
    makes.write_text("done")
"""


@pytest.fixture
def program(tmp_path):
    """The stand-in, as a program and its first arguments."""
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    return (sys.executable, "-S", str(path))


@pytest.fixture
def task(tmp_path):
    """Make a row that does what its words say, a word for each time that it is begun, the last for all that follow."""

    def make(name: str, do: str = "work", **values) -> Task:
        makes = tmp_path / "made" / name
        makes.parent.mkdir(parents=True, exist_ok=True)
        return Task(name, "run", f"makes: {makes}\ndo: {do}\n", makes, **values)

    return make


@pytest.fixture
def queue_of(tmp_path, program):
    """Make the queue of some rows."""
    return lambda *tasks: Queue(tmp_path / "queue", tasks, program)


@pytest.fixture
def tries():
    """Return what a row was called with, each time that it was begun."""

    def read(task: Task) -> list[str]:
        path = Path(f"{task.makes}.tries")
        return path.read_text().splitlines() if path.is_file() else []

    return read
