"""What a person sees of a run besides its results: lines in a file, warnings, and what a failure leaves behind."""

import shutil
import sys
from pathlib import Path

import pytest

from pairstill.cli import main
from pairstill.config import ScenesConfig
from pairstill.evaluate.retrieval import FEW_TEST_IMAGES
from pairstill.run import bars

WARNING = (
    "The test split has only 12 images: for a caption, ten images drawn blindly hold the right one in 83 % of cases"
)


@pytest.fixture
def told(capsys):
    """Return the lines of progress since the last call; standard output has none of them."""

    def lines():
        return capsys.readouterr().err.splitlines()

    return lines


def test_in_a_file_every_stage_has_a_line_and_no_line_is_broken_or_empty(do, told, monkeypatch, tmp_path):
    monkeypatch.setattr(bars, "LINE_SECONDS", 3600)  # a machine that is busy makes no more lines
    do("run", tmp_path / "run", "--evaluate.methods", "[distilled]")
    lines = told()
    stages = ["prepare", "teach", "distill", "evaluate"]
    assert [line for line in lines if line.startswith("Stage")] == [
        f"Stage {number} of 4: {stage}" for number, stage in enumerate(stages, start=1)
    ]
    assert len(set(lines)) == len(lines) and all(line.strip() and "━" not in line for line in lines)
    (epochs,) = (line for line in lines if line.startswith("Epochs of the teachers: "))
    assert epochs.startswith("Epochs of the teachers: 6 of 6 in ") and "validation recall" in epochs
    assert [line.split(" in ")[0] for line in lines if line.startswith("Phase ")] == [
        "Phase 1 of 2: 5 of 5",
        "Phase 2 of 2: 3 of 3",
    ]
    (mode,) = (line for line in lines if line.startswith("Hypergradient: "))
    assert len(mode) > 80 and mode.endswith(")")
    (warning,) = (line for line in lines if "The test split" in line)
    assert warning.startswith(WARNING) and warning.endswith(f"Give it {FEW_TEST_IMAGES} images or more")


def test_a_finished_run_has_no_students_to_count(do, undisturbed, told, tmp_path):
    shutil.copytree(undisturbed["trainable"], tmp_path / "run")
    do("run", tmp_path / "run")
    lines = told()
    assert not any("Students" in line for line in lines) and len(set(lines)) == len(lines)


def test_of_finished_pairs_nobody_is_warned_again(undisturbed, told, tmp_path):
    run = shutil.copytree(undisturbed["trainable"], tmp_path / "run")
    assert main(["export", str(run), "--format", "imagefolder", "--out", str(tmp_path / "out")]) == 0
    assert not [line for line in told() if "The test split" in line]
    (run / "data.json").unlink()  # as where the pairs alone were copied
    assert main(["student", str(run), "--out", str(tmp_path / "student")]) == 0
    assert len([line for line in told() if line.startswith(WARNING)]) == 1


def test_the_embedded_benchmark_has_enough_test_images():
    assert ScenesConfig().test >= FEW_TEST_IMAGES


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--data.source", "karpathy", "--data.root", "nowhere", "--data.annotations", "nowhere.json"], 1),
        (["--distill.phases", "[{num_pairs: 25, endpoint: 3}]"], 1),
        (["--image.name", "no_such_tower"], 2),
        (["--method", "no_such_method"], 2),
        (["--tracker", "trackio"], 1),
    ],
)
def test_what_is_wrong_before_anything_is_made_leaves_no_folder(tiny, monkeypatch, tmp_path, options, code):
    monkeypatch.setitem(sys.modules, "trackio", None)
    assert main(tiny("run", tmp_path / "runs" / "new", *options)) == code
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_fails_before_anything_is_made_leaves_no_folder(tmp_path):
    out = tmp_path / "reproduced"
    weights = str(Path(__file__))  # a file, which nobody comes to read
    command = ["reproduce", "flickr8k", "nowhere", weights, "--only=[short_200/lors]", "--device=cpu"]
    assert main([*command, f"--out={out}", f"--cache_dir={tmp_path / 'cache'}"]) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [["--image.weights=nowhere.safetensors"], ["--image.name=no_such_tower"]])
def test_a_tower_that_cannot_be_is_refused_before_any_pair_is_read(tiny, capsys, tmp_path, options):
    assert main(tiny("run", tmp_path / "run", *options)) == 2
    told = capsys.readouterr().err
    assert "which" in told and "Checking the pairs" not in told


def test_a_failure_leaves_a_folder_that_was_there_before(tiny, do, tmp_path):
    run = do("prepare", tmp_path / "run")
    names = {path.name for path in run.iterdir()}
    assert main(tiny("run", run, "--image.name", "no_such_tower")) == 2
    assert {path.name for path in run.iterdir()} == names
