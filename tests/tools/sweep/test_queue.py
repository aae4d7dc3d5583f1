"""The queue: what is run, in which order, and what becomes of rows that fail, are killed or left behind."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from pairstill.tools.sweep.executors import LOST
from pairstill.tools.sweep.executors.local import LocalExecutor
from pairstill.tools.sweep.queue import Drain, next_task
from pairstill.tools.sweep.run import drain as drain_and_write
from pairstill.tools.sweep.settings import QueueConfig
from pairstill.tools.sweep.state import RowState, last_lines


@pytest.fixture
def drain():
    """Drain a queue on this machine, and return what was told."""

    def run(queue, **config):
        told = []
        Drain(queue, LocalExecutor(), QueueConfig(**config), lambda task, state: told.append((task.name, state))).run(
            0.01
        )
        return told

    return run


def stages(told):
    return [(name, state.stage) for name, state in told]


def until(condition):
    while not condition():
        time.sleep(0.01)


def test_rows_are_run_once_and_their_results_count(queue_of, task, tries, drain):
    queue = queue_of(task("a/seed0"), task("b/seed0"))
    assert stages(drain(queue)) == [
        *(("a/seed0", "running"), ("a/seed0", "done")),
        *(("b/seed0", "running"), ("b/seed0", "done")),
    ]
    assert drain(queue) == [] and [len(tries(each)) for each in queue.tasks] == [1, 1]
    assert "doing work" in queue.log_of(queue.tasks[0]).read_text()
    queue.tasks[0].makes.unlink()
    assert stages(drain(queue))[-1] == ("a/seed0", "done"), "whose results are gone is run again"
    changed = queue_of(task("a/seed0"), task("b/seed0", "work,work"))
    assert changed.state(changed.tasks[1]) == RowState(), "which other settings have not run yet"


def test_cores_are_divided_unless_the_settings_say_how_many(queue_of, task, tries, drain):
    drain(queue_of(own := task("own", threads=3), shared := task("shared")), cpus=2)
    assert tries(own) == ["run OMP 3"] and tries(shared) == ["run --threads=2 OMP 2"]
    cores = len(os.sched_getaffinity(0))
    assert QueueConfig(jobs=1).cores == cores and QueueConfig(jobs=2 * cores).cores == 1
    assert QueueConfig(jobs=4, executor="ray").cores == 1


def test_a_row_that_fails_says_why_and_is_taken_again_when_asked(queue_of, task, tries, drain):
    queue = queue_of(bad := task("bad", "fail,work"), good := task("good"))
    told = drain(queue)
    assert stages(told)[-1] == ("good", "done"), "the others go on"
    state = queue.state(bad)
    assert state.stage == "failed" and state.seconds is not None and state.since
    assert state.error == ("it ended with the exit status 1", *last_lines(queue.log_of(bad)))
    assert state.error[-1] == "there is no such thing"
    assert drain(queue) == []
    assert stages(drain(queue, retry=True)) == [("bad", "running"), ("bad", "done")]
    assert len(tries(bad)) == 2 and len(tries(good)) == 1


def test_a_row_that_ends_without_results_failed(queue_of, task, drain):
    queue = queue_of(each := task("empty", "nothing"))
    drain(queue)
    assert queue.state(each).error[0] == f"it ended without {each.makes}"


def test_a_row_that_is_killed_is_taken_up_again(queue_of, task, tries, drain):
    queue = queue_of(once := task("once", "die,work"), always := task("always", "die"))
    told = drain(queue, attempts=2)
    assert queue.state(once).stage == "done" and len(tries(once)) == 2
    put_back = next(state for name, state in told if (name, state.stage) == ("once", "waiting"))
    assert put_back.error == ("it was killed by signal 9",)
    assert queue.state(always).stage == "failed" and len(tries(always)) == 2
    assert queue.state(always).error[0].startswith("it was killed by signal 9, 2 times; perhaps the memory")


def test_no_more_rows_than_jobs_are_at_work(queue_of, task, drain):
    told = drain(queue_of(*(task(f"row{number}") for number in range(5))), jobs=2)
    at_work, most = set(), 0
    for name, state in told:
        (at_work.add if state.stage == "running" else at_work.discard)(name)
        most = max(most, len(at_work))
    assert most == 2


def test_rows_with_the_same_teachers_are_not_begun_together_where_others_wait(task):
    first, second, other = task("a", teachers="x"), task("b", teachers="x"), task("c", teachers="y")
    assert next_task([second, other], [first]) == other
    assert next_task([second], [first]) == second and next_task([second, other], []) == second


SWEEP = """
import sys
from pathlib import Path
from pairstill.tools.sweep.executors.local import LocalExecutor
from pairstill.tools.sweep.queue import Drain, Queue, Task
from pairstill.tools.sweep.settings import QueueConfig

folder, settings, makes, *program = sys.argv[1:]
queue = Queue(Path(folder), [Task("row", "run", settings, Path(makes))], program)
Drain(queue, LocalExecutor(), QueueConfig(), lambda task, state: print(state.stage, flush=True)).run(0.01)
"""


def test_a_row_outlives_a_killed_sweep_and_is_not_run_beside_itself(queue_of, task, tries, drain, program):
    queue = queue_of(row := task("row", "wait"))
    words = [sys.executable, "-c", SWEEP, str(queue.folder), row.settings, str(row.makes), *program]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout.readline() == "running\n"
        until(lambda: tries(row))
        killed.send_signal(signal.SIGKILL)
    assert queue.state(row).stage == "running"
    executor = LocalExecutor()
    assert executor.poll("row") == LOST, "another sitting's"
    ticket = executor.submit(queue.job(row, 1))
    assert executor.poll(ticket) is None and len(tries(row)) == 1, "it is waited for"
    executor.cancel(ticket)
    assert executor.poll(ticket) == LOST and executor.submit(queue.job(row, 1)) == ticket
    row.makes.with_suffix(".go").touch()
    until(row.makes.is_file)
    until(lambda: executor.poll(ticket) == 0)
    assert len(tries(row)) == 2  # which finds its work done
    assert stages(drain(queue))[-1] == ("row", "done")


def test_what_interrupts_a_sweep_ends_its_rows_which_wait_then(queue_of, task, tries):
    queue = queue_of(row := task("row", "wait"))

    def tell(_, state):
        if state.stage == "running":
            until(lambda: tries(row))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Drain(queue, executor := LocalExecutor(), QueueConfig(), tell).run(0.01)
    assert executor.poll("row") == -signal.SIGTERM and queue.state(row).stage == "waiting"


def test_last_lines_are_those_with_something_in_them(tmp_path):
    assert last_lines(tmp_path / "none") == ()
    log = Path(tmp_path / "log")
    log.write_text("x" * 9000 + "\n\n" + "".join(f"line {number}  \n\n" for number in range(9)))
    assert last_lines(log) == tuple(f"line {number}" for number in range(4, 9))


def test_a_table_that_cannot_be_written_ends_no_row(queue_of, task, tries):
    def write():
        raise ValueError("too many values to unpack")

    queue, console = queue_of(task("a"), task("b")), Console(file=io.StringIO(), width=200)
    assert drain_and_write(queue, QueueConfig(), console, write) == 0
    assert [len(tries(each)) for each in queue.tasks] == [1, 1]
    assert console.file.getvalue().count("ValueError: too many values to unpack") == 2


def test_an_error_of_the_last_sitting_is_one_line_with_its_advice(tmp_path):
    log = Path(tmp_path / "log")
    log.write_text("--- then\npairstill: error: choose another run_dir:\n  - seed: 0 before, 1 now\n")
    assert last_lines(log) == ("--- then", "pairstill: error: choose another run_dir: - seed: 0 before, 1 now")
    log.write_text(log.read_text() + "--- now\nkilled\n")
    assert last_lines(log)[-2:] == ("--- now", "killed")
