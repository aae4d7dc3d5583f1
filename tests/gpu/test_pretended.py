"""Whole runs on a pretended GPU, which refuses what a real one would: a CPU tensor among its own."""

import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pairstill.cli.command import settings_from
from pairstill.run.pipeline import Run
from pairstill.storage import load_tensors
from pairstill.teachers import shortcut

sys.path.insert(0, str(Path(__file__).parents[1]))
from pretend_gpu import ELSEWHERE, pretended_gpu  # noqa: E402 - a helper beside the tests, which are no package

TINY = str(Path(__file__).parents[1] / "recipes" / "tiny.yaml")
SMALL = (  # every operation takes its way through Python
    *("--data.scenes.train", "12", "--data.scenes.val", "6", "--data.scenes.test", "6", "--teacher.num_experts", "1"),
    *("--student.epochs", "1", "--evaluate.num_students", "1", "--evaluate.references.full_epochs", "1"),
)
SHORT = (
    "--distill.phases",
    "[{num_pairs: 6, outer_steps: 2, range_start: 0, range_end: 1, endpoint: 2},"
    " {num_pairs: 4, outer_steps: 1, range_start: 1, range_end: 2, endpoint: 3}]",
)
FROZEN = ("--image.trainable", "false", "--heads.image", "true", "--heads.width", "16", "--heads.kind", "linear")
CASES = {
    "trained": (
        *SHORT,
        *("--distill.similarity.kind", "low_rank", "--distill.similarity.rank", "2"),
        *("--teacher.augment", "paper"),
    ),
    "frozen": (*FROZEN, *SHORT),
    "frozen, residual": (*FROZEN, *SHORT, "--heads.kind", "residual"),
    "apm": (*FROZEN, "--method", "apm", "--evaluate.methods", "[distilled, closed_form]"),
    "ncfm": (*FROZEN, "--method", "ncfm", "--distill.outer_steps", "2"),
    "features_first": (
        *(*FROZEN, *SHORT, "--method", "features_first", "--distill.features_first.steps", "2"),
        *("--distill.features_first.inversion_steps", "3"),
    ),
}


class AtOnce:
    """Does what it is given at once, in this thread: a pretended GPU is one thread's."""

    def __init__(self, *_, **__):
        pass

    def submit(self, call, *args):
        done = Future()
        done.set_result(call(*args))
        return done


def settings(tmp_path, name, *options):
    asked = ["--config", TINY, *SMALL, *options]
    config = settings_from(asked)
    return replace(config, run_dir=str(tmp_path / name), cache_dir=str(tmp_path / "cache"), device="cpu")


@pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
def test_a_run_elsewhere_is_the_run_here(options, tmp_path, monkeypatch):
    monkeypatch.setattr(shortcut, "ThreadPoolExecutor", AtOnce)
    with pretended_gpu():
        with Run(settings(tmp_path, "meta", *options)) as pipeline:
            pipeline.context = replace(pipeline.context, device=ELSEWHERE)
            rows = pipeline.run()
    with Run(settings(tmp_path, "cpu", *options)) as pipeline:
        expected = pipeline.run()
    here, there = (load_tensors(tmp_path / n / "distilled" / "distilled.safetensors") for n in ("cpu", "meta"))
    assert here.keys() == there.keys()
    for name in here:
        torch.testing.assert_close(there[name], here[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    assert [row.title for row in rows] == [row.title for row in expected]


def test_the_pretended_gpu_refuses_what_a_real_one_would():
    with pretended_gpu():
        there = torch.ones(3).to(ELSEWHERE)
        assert there.device == ELSEWHERE and float((there * torch.tensor(2.0)).sum()) == 6  # a scalar may meet it
        assert there[torch.tensor([0, 2])].device == ELSEWHERE  # and so may an index
        with pytest.raises(RuntimeError, match="a CPU tensor of shape"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError, match="a CPU tensor of shape"):
            there.index_add_(0, torch.tensor([0]), torch.ones(1).to(ELSEWHERE))
