"""Runs whose last stages train: between the frozen tower and the trained one, and equal to them at the ends."""

import json
from pathlib import Path

import pytest
import torch

import pairstill
from pairstill.cli import main
from pairstill.cli.command import settings_of_run
from pairstill.data.build import build_manifest
from pairstill.distilled import DistilledSet
from pairstill.evaluate.retrieval import retrieval_ranks
from pairstill.storage import load_tensors
from pairstill.teachers.trajectory import SHARED
from pairstill.tools.plan import make_plan

LAST = ("--image.last_stages", "2", "--evaluate.num_students", "1")


@pytest.fixture(scope="module")
def whole(do, tmp_path_factory):
    """A finished run that nothing disturbed; tests only read it."""
    return do("run", tmp_path_factory.mktemp("last_stages") / "whole", *LAST)


def test_the_stages_behind_the_cut_train_and_pixels_are_learned(whole):
    made = DistilledSet.load(whole / "distilled")
    assert made.image_encoder["cut"] == {"module": "stages.1", "shape": [64, 2, 2]} and made.image_encoder["trainable"]
    assert all(phase.images.shape[1:] == (3, 16, 16) for phase in made.phases)
    names = load_tensors(whole / "trajectories" / SHARED)
    assert any("stages.2" in name for name in names) and not any("stages.1" in n or "stem" in n for n in names)


def test_the_card_says_which_part_is_trained(whole, tmp_path):
    assert main(["export", str(whole), "--format", "imagefolder", "--out", str(tmp_path / "out")]) == 0
    assert "16 px, trained behind `stages.1`, frozen before it;" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(("phase", "step"), [(1, 4), (2, 1)])
def test_an_interrupted_run_goes_on_to_the_same_bits(tiny, do, whole, same_set, interrupt, tmp_path, phase, step):
    interrupt(event="distill_step", phase=phase, step=step)
    assert main(tiny("distill", tmp_path / "run", *LAST)) == 130
    interrupt()
    assert same_set(do("distill", tmp_path / "run", *LAST), whole)


@pytest.mark.parametrize(("mode", "stages"), [("trainable", "5"), ("frozen", "0")])
def test_all_stages_are_the_trained_tower_and_none_the_frozen_one(
    do, undisturbed, options_of, same_set, same_teachers, tmp_path, mode, stages
):
    options = [option for option in options_of[mode] if option not in ("--image.trainable", "false")]
    run = do("distill", tmp_path / "run", *options, "--image.last_stages", stages)
    assert same_set(run, undisturbed[mode]) and same_teachers(run, undisturbed[mode])


def test_a_student_embeds_as_it_was_measured(whole, tmp_path):
    assert main(["student", str(whole), "--out", str(tmp_path / "student")]) == 0
    student = pairstill.load_student(tmp_path / "student")
    config = settings_of_run(whole)
    manifest = build_manifest(config.data, Path(config.cache_dir))
    images = student.embed_images(manifest.image_paths("test"))
    texts = student.embed_texts(manifest.captions("test"))
    recalls = retrieval_ranks(images, texts, torch.tensor(manifest.caption_owner("test"))).recalls
    lines = [json.loads(line) for line in (whole / "results.jsonl").read_text().splitlines()]
    (measured,) = (line["mean_recall"] for line in lines if line["method"] == "ptm_st")
    assert recalls.mean == pytest.approx(measured, abs=1e-3)


def test_a_plan_says_what_the_cache_keeps_of_images_at_the_cut(whole):
    config = settings_of_run(whole)
    plan = make_plan(config)
    texts = sum(len(build_manifest(config.data, Path(config.cache_dir)).captions(s)) for s in ("train", "val", "test"))
    assert plan.cache_bytes == 4 * (48 * 64 * 2 * 2 + 16 * texts) and plan.chosen_mode == "exact_store"


def test_augmented_views_are_cached_at_the_cut(do, tmp_path):
    views = ("--teacher.augment", "paper", "--teacher.views", "2")
    assert do("teach", tmp_path / "run", *LAST, *views)


def test_what_needs_pixels_is_refused(tiny, tmp_path, capsys):
    assert main(tiny("run", tmp_path / "run", *LAST, "--teacher.augment", "paper")) == 2
    assert "its first stages are" in capsys.readouterr().err
