"""A method is one module and one line in the registry, also one with a model, a state or pairs of its own make."""

import importlib.util
from pathlib import Path

import pytest
import torch

from pairstill import methods
from pairstill.cli import main
from pairstill.distilled import DistilledSet
from pairstill.storage import load_tensors, open_tensors, save_tensors


def load(name):
    path = Path(__file__).parent / "own_methods" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"own_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OWN = {"covmatch": load("covmatch").COVMATCH, "latents": load("latents").LATENTS}


@pytest.fixture(autouse=True)
def registered():
    """The one line in the registry of each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "METHODS", (*methods.METHODS, *OWN.values()))
        yield


@pytest.mark.parametrize(("name", "tower"), [("covmatch", "frozen"), ("latents", "frozen"), ("latents", "trainable")])
def test_a_method_of_ones_own_is_distilled_and_goes_on_to_the_same_bits(
    tiny, do, events, results, options_of, same_set, interrupt, tmp_path, name, tower
):
    options = (*options_of[tower], f"--method={name}", "--evaluate.methods=[distilled]", "--evaluate.num_students=1")
    whole, folder = do("run", tmp_path / "whole", *options), tmp_path / "killed"
    # between two checkpoints, after a reset of the model that only its state knows of
    interrupt(event="distill_step", phase=1, step=6)
    assert main(tiny("distill", folder, *options)) == 130
    stored = load_tensors(folder / "distillation" / "phase1.checkpoint.safetensors")
    assert any(key.startswith("objective/model/") for key in stored) == (name == "covmatch")
    interrupt()
    done = len(events(folder, "distill_step"))
    do("distill", folder, *options)
    steps = events(folder, "distill_step")
    assert steps[done]["step"] == 5 and steps[-1]["step"] == steps[-1]["steps"] == 8
    assert same_set(folder, whole)
    (row,) = [row for row in results(whole) if row["protocol"] == "strict"]
    assert row["method"] == name and bool(row["settings"]) == (OWN[name].student == "chosen_rates")


def test_the_models_state_matters(tiny, options_of, interrupt, do, same_set, tmp_path):
    """Without its model a killed run of the online method goes on elsewhere, so that the test above tells something."""
    options = (*options_of["frozen"], "--method=covmatch")
    whole = do("distill", tmp_path / "whole", *options)
    interrupt(event="distill_step", phase=1, step=6)
    assert main(tiny("distill", tmp_path / "killed", *options)) == 130
    interrupt()
    checkpoint = tmp_path / "killed" / "distillation" / "phase1.checkpoint.safetensors"
    with open_tensors(checkpoint) as stored:
        about = stored.metadata()
    kept = load_tensors(checkpoint)
    forgotten = {n: torch.zeros_like(v) if n.startswith("objective/model/") else v for n, v in kept.items()}
    save_tensors(checkpoint, forgotten, about)
    assert not same_set(do("distill", tmp_path / "killed", *options), whole)


def test_latents_make_the_images_that_are_kept(do, options_of, tmp_path):
    folder = do("distill", tmp_path / "run", *options_of["frozen"], "--method=latents")
    learned = load_tensors(folder / "distillation" / "phase1.safetensors")
    assert learned.keys() == {"latents", "texts"} and learned["latents"].shape == (10, 4)
    (phase,) = DistilledSet.load(folder / "distilled").phases
    assert phase.images.shape == (10, 3, 16, 16) and phase.images.abs().max() <= 1
    assert phase.similarity.equal(torch.eye(10)) and phase.inner_lr_image > 0
