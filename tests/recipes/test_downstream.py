"""Tiny downstream tasks through the command line."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from pairstill.cli import main
from pairstill.studies.downstream import study as module
from pairstill.studies.downstream.answers import Answering

VARYING = ("commit", "config", "sha256")


@pytest.fixture
def run(request, undisturbed, options_of, tmp_path):
    """A copy of a finished run, with a frozen tower unless the test says otherwise, and its options."""
    mode = getattr(request, "param", "frozen")
    shutil.copytree(undisturbed[mode], tmp_path / "run")
    return tmp_path / "run", options_of[mode]


@pytest.fixture
def downstream(tiny):
    """Run a task on a tiny run, and return the exit status."""

    def command(name, folder, *options):
        return main(["downstream", name, *tiny("", folder, *options)[1:]])

    return command


def lines(folder):
    found = [json.loads(line) for line in (folder / "downstream.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in VARYING} for line in found]


@pytest.mark.parametrize("run", ["trainable", "frozen"], indirect=True)
def test_zero_shot_over_classes_that_captions_name(downstream, run, results, steps, capsys):
    folder, options = run
    task = ("--zeroshot.source", "captions", "--zeroshot.classes", "[circle|disc, square|box, triangle]")
    task += ("--zeroshot.templates", "['a photo of a {}', 'the {}']", "--evaluate.methods", "[distilled, full]")
    assert downstream("zeroshot", folder, *options, *task, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["title"] for row in rows] == ["Chance", "PTM-ST", "Full data"]
    found = lines(folder)
    assert [(line["method"], line["seeds"]["student"]) for line in found] == [
        (method, student) for method in ("ptm_st", "full") for student in (0, 1)
    ]
    retrieval = {(r["method"], r["seeds"]["student"]): r for r in results(folder)}
    for line in found:  # the students of the ordinary evaluation
        same = retrieval[line["method"], line["seeds"]["student"]]
        assert (line["retrieval_mean_recall"], line["epoch"]) == (same["mean_recall"], same["epoch"])
        assert line["candidates"] == 3 and line["top5"] is None and line["classes"] == ["circle", "square", "triangle"]
    assert steps
    steps.clear()
    other = ("--zeroshot.num_classes", "2", "--zeroshot.class_seed", "1")
    assert downstream("zeroshot", folder, *options, *task, *other) == 0
    assert steps == []  # students are kept
    assert len(lines(folder)) == 8 and lines(folder)[4]["class_seed"] == 1
    assert "drawn with seed 1" in (folder / "downstream_zeroshot.md").read_text()


@pytest.fixture
def coco(tmp_path):
    """Five questions about two images, and the options that name them."""
    columns = {
        "questions": ["what is red", "what is blue", "how many", "where is it", "what is left"],
        "answers": ["circle", "square", "two", "corner", "circle"],
        "img_ids": [42, 7, 42, 7, 7],
        "types": [0, 0, 1, 3, 0],
    }
    (tmp_path / "qa" / "test").mkdir(parents=True)
    (tmp_path / "coco").mkdir()
    for name, column in columns.items():
        (tmp_path / "qa" / "test" / f"{name}.txt").write_text("".join(f"{value}\n" for value in column))
    for image in (42, 7):
        pixels = np.random.default_rng(image).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "coco" / f"COCO_val2014_{image:012d}.png")
    return ("--cocoqa.root", str(tmp_path / "qa"), "--cocoqa.images", str(tmp_path / "coco"))


def test_cocoqa_goes_on_where_it_stopped(downstream, run, coco, steps, monkeypatch, tmp_path):
    folder, options = run
    task = (*coco, "--evaluate.methods", "[distilled]")
    shutil.copytree(folder, tmp_path / "whole")
    assert downstream("cocoqa", tmp_path / "whole", *options, *task) == 0
    monkeypatch.setattr(module, "SHARD_QUESTIONS", 2)
    original, asked = Answering.ranks, []

    def interrupted(self, questions, images, start, stop):
        if len(asked) == 1:
            raise KeyboardInterrupt
        asked.append((start, stop))
        return original(self, questions, images, start, stop)

    monkeypatch.setattr(Answering, "ranks", interrupted)
    assert downstream("cocoqa", folder, *options, *task) == 130
    assert not (folder / "downstream.jsonl").exists()
    steps.clear()
    monkeypatch.setattr(Answering, "ranks", lambda self, *rest: asked.append(rest[2:]) or original(self, *rest))
    assert downstream("cocoqa", folder, *options, *task) == 0
    assert asked == [(0, 2), (2, 4), (4, 5)] and steps == []  # students are kept
    assert lines(folder) == lines(tmp_path / "whole")
    first = lines(folder)[0]
    assert (first["items"], first["candidates"]) == (5, 4)
    assert first["items_by_group"] == {"location": 1, "number": 1, "object": 3}
    mean = sum(first["top1_by_group"][group] * items for group, items in first["items_by_group"].items()) / 5
    assert first["top1"] == pytest.approx(mean, abs=1e-3)


def test_wrong_usage_is_said(downstream, run, capsys):
    folder, options = run
    assert downstream("cocoqa", folder, *options) == 2
    assert "set cocoqa.root" in capsys.readouterr().err
