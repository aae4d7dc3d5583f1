"""Rows on a Ray of this machine, and as submitit's local jobs in Slurm's place; not where these are not installed."""

import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from pairstill.core.errors import ConfigError, MissingDependencyError
from pairstill.tools.sweep.executors import LOST, choose_executor
from pairstill.tools.sweep.executors.on_ray import RayExecutor
from pairstill.tools.sweep.executors.on_slurm import SlurmExecutor
from pairstill.tools.sweep.queue import Drain
from pairstill.tools.sweep.settings import QueueConfig


def until(condition):
    while not condition():
        time.sleep(0.02)


def pids(task):
    """The process of a row, and the cluster's worker that began it."""
    return [int(pid) for pid in Path(f"{task.makes}.pids").read_text().split()]


@pytest.fixture
def slurm(tmp_path):
    """An executor whose jobs are processes of this machine; another one is another sitting's."""
    pytest.importorskip("submitit")
    return lambda **config: SlurmExecutor(tmp_path / ".slurm", QueueConfig(executor="slurm", **config), "local")


@pytest.fixture(scope="module")
def two_workers():
    """A Ray with two workers on this machine."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what it would warn of otherwise
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield RayExecutor(1, 0)
        ray.shutdown()


def test_rays_rows_are_run_two_at_a_time_and_one_whose_worker_is_killed_is_taken_up_again(
    two_workers, queue_of, task, tries
):
    queue = queue_of(first := task("a", "wait"), task("b"), bad := task("c", "fail"))
    told = []

    def tell(row, state):
        told.append((row.name, state.stage))
        if told.count(("a", "running")) == 1 and (row.name, state.stage) == ("b", "done"):
            until(lambda: tries(first))
            row_pid, worker = pids(first)
            os.kill(worker, signal.SIGKILL)
            os.kill(row_pid, 0)  # the row itself goes on, and is not run beside itself
        if (row.name, state.stage) == ("a", "waiting"):
            assert state.error == ("its process or machine was lost",)
            first.makes.with_suffix(".go").touch()

    Drain(queue, two_workers, QueueConfig(jobs=2, executor="ray"), tell).run(0.02)
    assert told[:2] == [("a", "running"), ("b", "running")] and told.count(("a", "running")) == 2
    assert [queue.state(each).stage for each in queue.tasks] == ["done", "done", "failed"]
    assert len(tries(first)) == 2 and "there is no such thing" in queue.state(bad).error[-1]


def test_ray_ends_a_row_when_asked(two_workers, queue_of, task, tries):
    queue = queue_of(row := task("row", "wait"))
    ticket = two_workers.submit(queue.job(row, 1))
    until(lambda: tries(row))
    assert two_workers.poll(ticket) is None and two_workers.poll("another sitting's") == LOST
    two_workers.cancel(ticket)
    until(lambda: two_workers.poll(ticket) is not None)
    assert two_workers.poll(ticket) == LOST
    with pytest.raises(ProcessLookupError):
        os.kill(pids(row)[0], 0)


def test_slurms_rows_are_run_and_one_that_is_lost_is_taken_up_again(slurm, queue_of, task, tries):
    queue = queue_of(lost := task("lost", "wait"), bad := task("bad", "fail"))

    def tell(row, state):
        if (row.name, state.stage) == ("lost", "running") and len(tries(lost)) == 0:
            until(lambda: tries(lost))
            for pid in pids(lost):
                os.kill(pid, signal.SIGKILL)
            lost.makes.with_suffix(".go").touch()

    Drain(queue, slurm(), QueueConfig(jobs=2, executor="slurm"), tell).run(0.1)
    assert [queue.state(each).stage for each in queue.tasks] == ["done", "failed"]
    assert len(tries(lost)) == 2 and "there is no such thing" in queue.state(bad).error[-1]


def test_a_later_sitting_finds_slurms_jobs_again(slurm, queue_of, task, tries):
    queue = queue_of(row := task("row", "wait"))
    first = slurm()
    ticket = first.submit(queue.job(row, 1))
    until(lambda: tries(row))
    row.makes.with_suffix(".go").touch()
    until(lambda: first.poll(ticket) is not None)
    assert first.poll(ticket) == slurm().poll(ticket) == 0 and len(tries(row)) == 1


def test_slurm_ends_a_row_when_asked(slurm, queue_of, task, tries):
    queue = queue_of(row := task("row", "wait"))
    executor = slurm()
    ticket = executor.submit(queue.job(row, 1))
    until(lambda: tries(row))
    executor.cancel(ticket)
    statuses = []
    until(lambda: statuses.append(executor.poll(ticket)) or statuses[-1] is not None)
    assert statuses[-1] == LOST
    with pytest.raises(ProcessLookupError):
        os.kill(pids(row)[0], 0)


def test_what_submitit_does_not_know_is_refused(slurm, tmp_path):
    with pytest.raises(ConfigError, match="slurm is .*'minutes': 3.*, which submitit refuses"):
        slurm(slurm={"minutes": 3})
    with pytest.raises(ConfigError, match="executor is slurm, but there is none here"):
        SlurmExecutor(tmp_path / ".slurm", QueueConfig(executor="slurm"))


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_executor_whose_package_is_missing_names_its_extra(tmp_path, name, package):
    if find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(MissingDependencyError, match=rf'pip install "pairstill\[{name}\]"'):
        choose_executor(QueueConfig(executor=name), tmp_path)
