"""Commands in two processes each, forked from one that has imported all: seconds less than torchrun takes.

Each line of the standard input is a command as JSON, each line of the output what came of it: statuses and prints.
"""

import json
import os
import signal
import socket
import sys
import tempfile
import traceback

import pairstill.run.pipeline  # noqa: F401 - what every command needs
from pairstill.cli import main
from pairstill.core.errors import NumericalError
from pairstill.distill import loop
from pairstill.distill.bilevel.solvers.base import FiniteSteps
from pairstill.encoders import cache
from pairstill.run import distill

WORLD = 2


def rank(number, port, job):
    """Do the command in this process and end it."""
    here = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": WORLD, "LOCAL_WORLD_SIZE": WORLD, "MASTER_PORT": port}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in here.items()}}
    if job["killed_after"] is not None and number == 1:
        kill_after(*job["killed_after"])
    if job["shard_rows"] is not None:
        cache.SHARD_ROWS = job["shard_rows"]
    if job["killed_at_shard"] is not None and number == 1:
        kill_at_shard(job["killed_at_shard"])
    if job["diverging"]:
        diverge_once(number)
    status = 1
    try:
        status = main(job["command"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def kill_after(phase, step):
    """Let this process be killed when it has done a step of a phase."""
    advance = loop._advance

    def killed(state, problem, *more):
        if (problem.number, state.step) == (phase, step):
            os.kill(os.getpid(), signal.SIGKILL)
        return advance(state, problem, *more)

    loop._advance = killed


def kill_at_shard(count):
    """Let this process be killed when it is about to write its shard of this number, from 1."""
    save, written = cache.save_tensors, []

    def killed(path, tensors):
        written.append(path)
        if len(written) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        save(path, tensors)

    cache.save_tensors = killed


def diverge_once(number):
    """Let the second process' first inner loop diverge, and the main one's first student that validation looks at."""
    owner, name = ((distill, "_validation"), (FiniteSteps, "check"))[number]
    real, called = getattr(owner, name), []

    def diverging(*arguments):
        called.append(arguments)
        if len(called) == 1:
            raise NumericalError("not finite")
        return real(*arguments)

    setattr(owner, name, diverging)


def free_port():
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def do(job):
    """Do a command in two processes, and return what came of it."""
    port, children = free_port(), []
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        for number in range(WORLD):
            child = os.fork()
            if child == 0:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                rank(number, port, job)
            children.append(child)
        status = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        out.seek(0)
        err.seek(0)
        return {"status": status, "out": out.read(), "err": err.read()}


for line in sys.stdin:
    print(json.dumps(do(json.loads(line))), flush=True)
