"""Runs of two processes, as torchrun starts them, against runs of one."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pairstill.config import RunConfig, TrajectoryConfig
from pairstill.core.devices import choose_device
from pairstill.core.errors import ConfigError
from pairstill.core.world import World
from pairstill.encoders import cache
from pairstill.run.pipeline import Run
from pairstill.storage import load_tensors

# three experts do not go evenly into two processes, four segments do
SHARED = ("--teacher.num_experts=3", "--distill.trajectories_per_step=4", "--evaluate.num_students=1")


@pytest.fixture(scope="module")
def world():
    """Do a command in two processes, one perhaps killed after a phase and a step; return what came of it."""
    server = [sys.executable, str(Path(__file__).parent / "forked_world.py")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:

        def do(command, killed_after=None, shard_rows=None, killed_at_shard=None, diverging=False):
            job = {"command": command, "killed_after": killed_after, "diverging": diverging}
            job |= {"shard_rows": shard_rows, "killed_at_shard": killed_at_shard}
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            return SimpleNamespace(**json.loads(process.stdout.readline()))

        yield do
        process.stdin.close()


@pytest.fixture(scope="module")
def shared(world, tiny, options_of, tmp_path_factory):
    """Finished runs of two processes, by mode, with what they printed."""
    folder, found = tmp_path_factory.mktemp("world"), {}
    for mode, options in options_of.items():
        done = world(tiny("run", folder / mode, *options, *SHARED))
        assert done.status == [0, 0], done.err
        found[mode] = (folder / mode, done)
    return found


@pytest.fixture(scope="module")
def alone(do, options_of, tmp_path_factory):
    """The same runs of one process."""
    folder = tmp_path_factory.mktemp("alone")
    return {mode: do("run", folder / mode, *options, *SHARED) for mode, options in options_of.items()}


@pytest.mark.parametrize("mode", ["trainable", "frozen"])
def test_two_processes_distil_what_one_does_up_to_rounding(shared, alone, events, mode):
    folder, _ = shared[mode]
    one, two = (load_tensors(f / "distilled" / "distilled.safetensors") for f in (alone[mode], folder))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    for first, second in zip(events(alone[mode], "distill_step"), events(folder, "distill_step"), strict=True):
        assert first["losses"] == pytest.approx(second["losses"], rel=1e-4)
        varying = ("time", "losses", "inner_lr_image", "inner_lr_text")
        assert {k: v for k, v in first.items() if k not in varying} == {
            k: v for k, v in second.items() if k not in varying
        }


@pytest.mark.parametrize("mode", ["trainable", "frozen"])
def test_experts_are_the_same_bits_whoever_trained_them(shared, alone, events, mode):
    folder, _ = shared[mode]
    names = sorted(path.name for path in (alone[mode] / "trajectories").iterdir())
    assert names == sorted(path.name for path in (folder / "trajectories").iterdir())
    for name in names:
        one, two = (load_tensors(f / "trajectories" / name) for f in (alone[mode], folder))
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    # two at a time, then the third
    pairs = [(event["expert"], event["epoch"]) for event in events(folder, "teacher_epoch")]
    assert pairs == [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 1), (2, 2), (2, 3)]


@pytest.mark.parametrize("mode", ["trainable", "frozen"])
def test_one_process_alone_writes_and_shows(shared, alone, events, mode):
    folder, done = shared[mode]
    assert Counter(e["event"] for e in events(folder)) == Counter(e["event"] for e in events(alone[mode]))
    assert {p.name for p in folder.iterdir()} == {p.name for p in alone[mode].iterdir()}
    assert {p.name for p in folder.rglob(".*")} == {".lock"}, "nothing is left half written"
    assert done.out.count("Recall on the test split") == 1
    assert done.err.count("Checking the pairs") == 1


def test_a_killed_process_ends_the_run_which_goes_on_to_the_same_bits(
    world, tiny, options_of, shared, same_set, events, tmp_path
):
    command = tiny("distill", tmp_path / "run", *options_of["trainable"], *SHARED)
    found = world(command, killed_after=(1, 3))
    assert found.status == [1, -signal.SIGKILL]
    assert "pairstill: error on rank 0: " in found.err
    assert "The same command goes on from the last checkpoint" in found.err
    assert not (tmp_path / "run" / "distilled").exists()
    before = len(events(tmp_path / "run", "distill_step"))
    assert before == 3
    found = world(command)
    assert found.status == [0, 0], found.err
    assert events(tmp_path / "run", "distill_step")[before]["step"] == 3, "the last checkpoint was after step 2"
    assert same_set(tmp_path / "run", shared["trainable"][0])


def test_a_trial_of_rates_that_diverges_on_one_process_has_no_recall_on_any(world, tiny, options_of, tmp_path):
    trials = ("--distill.rate_trials={steps: 2, scales: [0.5]}", "--distill.validate_every=0")
    folder, quick = tmp_path / "run", ("--ranks_timeout_minutes=0.5",)
    found = world(tiny("distill", folder, *options_of["frozen"], *SHARED, *trials, *quick), diverging=True)
    assert found.status == [0, 0], found.err
    kept = json.loads((folder / "distillation" / "phases.rates.json").read_text())["trials"]
    # the second process' inner loop, then the main one's student
    assert [trial["validation_mean_recall"] is None for trial in kept] == [True, True, False]


def encoded(cache_dir):
    """Return the bytes of every shard, and when it was written, by its place below the cache."""
    kinds = ("pixels", "features", "texts")
    paths = [path for kind in kinds for path in (cache_dir / kind).rglob("*.safetensors")]
    return {path.relative_to(cache_dir): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


@pytest.mark.parametrize("mode", ["trainable", "frozen"])
def test_two_processes_encode_the_bytes_of_one_and_a_killed_one_is_taken_up_again(
    world, do, tiny, options_of, monkeypatch, tmp_path, mode
):
    monkeypatch.setattr(cache, "SHARD_ROWS", 4)
    do("prepare", tmp_path / "alone", *options_of[mode], f"--cache_dir={tmp_path / 'one'}")
    alone = {place: content for place, (content, _) in encoded(tmp_path / "one").items()}
    command = tiny("prepare", tmp_path / "run", *options_of[mode], f"--cache_dir={tmp_path / 'two'}")
    found = world(command, shard_rows=4, killed_at_shard=3)
    assert found.status == [1, -signal.SIGKILL], found.err
    before = encoded(tmp_path / "two")
    assert 2 < len(before) < len(alone)
    found = world(command, shard_rows=4)
    assert found.status == [0, 0], found.err
    after = encoded(tmp_path / "two")
    assert {place: content for place, (content, _) in after.items()} == alone
    assert all(after[place] == before[place] for place in before), "what was there is not encoded again"


def test_torchrun_starts_two_processes_that_ask_for_pairs_that_nobody_made(tiny, events, tmp_path):
    again = ("--reuse=true", f"--cache_dir={tmp_path / 'cache'}", *SHARED)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launcher, "-m", "pairstill", *tiny("distill", tmp_path / "run", *again)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert found.returncode == 0, found.stderr
    assert events(tmp_path / "run", "distill_step")
    assert found.stderr.count("Checking the pairs") == 1


@pytest.mark.parametrize(
    ("name", "rank", "expected"),
    [
        ("auto", World(), "cuda"),
        ("auto", World(3, 4, 1, 2), "cuda:1"),
        ("cuda", World(3, 4, 1, 2), "cuda:1"),
        ("cuda:1", World(1, 2, 0, 1), "cuda:1"),
        ("cpu", World(3, 4, 3, 4), "cpu"),
        ("cuda:1", World(1, 2, 1, 2), "device is cuda:1 but 2 processes run on this machine; use --device auto"),
        ("auto", World(2, 3, 2, 3), "3 processes run on this machine but it has 2 GPUs"),
    ],
)
def test_each_process_has_a_gpu_of_its_own(name, rank, expected):
    try:
        assert str(choose_device(name, rank, count_gpus=lambda: 2)) == expected
    except ConfigError as error:
        assert expected in str(error)


@pytest.mark.parametrize("stage", ["run", "distill"])
def test_segments_that_cannot_be_shared_evenly_are_refused(tmp_path, stage):
    config = RunConfig(run_dir=str(tmp_path / "run"), device="cpu", distill=TrajectoryConfig(trajectories_per_step=4))
    pipeline = Run(config)
    pipeline.context = replace(pipeline.context, world=World(size=3))
    with pytest.raises(ConfigError, match="trajectories_per_step is 4, but 3 processes .* must be a multiple of 3"):
        getattr(pipeline, stage)()
