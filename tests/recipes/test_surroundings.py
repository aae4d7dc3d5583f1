"""Inside another program: whatever it has set, a run is the same, and leaves the program's settings as they were."""

import logging
import os
import random
import signal
import warnings
from contextlib import ExitStack

import matplotlib
import numpy as np
import pytest
import torch

from pairstill.cli import main
from pairstill.distilled import DistilledSet
from pairstill.run.pipeline import Run


def seen():
    """What a library could change in the process around it."""
    return {
        "torch's generator": torch.get_rng_state().tolist(),
        "numpy's generator": repr(np.random.get_state()),  # noqa: NPY002 - the one that a library could disturb
        "python's generator": random.getstate(),
        "threads": torch.get_num_threads(),
        "default type": torch.get_default_dtype(),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
        ),
        "products": (torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "warnings": list(warnings.filters),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)],
        "figures": (matplotlib.get_backend(auto_select=False), dict(dict.items(matplotlib.rcParams))),
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
    }


@pytest.fixture
def hostile():
    """A program that has set everything otherwise."""
    with ExitStack() as stack:
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch.autocast("cpu", torch.bfloat16))
        yield


def configuration(command):
    """The settings of a command line of a tiny run."""
    from pairstill.cli.command import settings_from

    return settings_from(command[1:])


@pytest.mark.parametrize("mode", ["trainable", "frozen"])
def test_a_run_inside_a_program_that_has_set_everything_otherwise(
    tiny, options_of, undisturbed, same_set, results, hostile, tmp_path, mode
):
    config = configuration(tiny("run", tmp_path / "run", *options_of[mode]))
    before = seen()
    run = Run(config)
    assert seen() == before
    run.run()
    assert seen() == before
    assert same_set(tmp_path / "run", undisturbed[mode])
    assert results(tmp_path / "run") == results(undisturbed[mode])
    assert DistilledSet.load(tmp_path / "run" / "distilled").phases[0].similarity.dtype == torch.float32


@pytest.mark.parametrize("part", ["manifest", "image", "text", "tower", "factory", "splits", "evaluator"])
def test_parts_that_are_built_alone(tiny, options_of, hostile, tmp_path, part):
    config = configuration(tiny("run", tmp_path / "run", *options_of["frozen"]))
    before = seen()
    run = Run(config)
    getattr(run.context, part)
    assert seen() == before
    assert {value.dtype for value in run.context.image.tower.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "command",
    [
        ("report",),
        ("export", "--format", "parquet", "--out", "{}/parquet"),
        ("export", "--format", "imagefolder", "--out", "{}/images", "--measure", "never"),
        ("shares",),
    ],
)
def test_commands_leave_the_process_as_it_was(do, options_of, tmp_path, command):
    run = do("run", tmp_path / "run", *options_of["frozen"])
    before = seen()
    assert main([command[0], str(run), *(option.format(tmp_path) for option in command[1:])]) == 0
    assert seen() == before
