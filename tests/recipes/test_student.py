"""A student as a folder: it embeds as the run measured it, wherever it is read."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import pairstill
from pairstill.cli import main
from pairstill.cli.command import settings_of_run
from pairstill.core.errors import ArtifactError
from pairstill.data.build import build_manifest
from pairstill.evaluate.retrieval import retrieval_ranks
from pairstill.storage import read_sealed, write_sealed


@pytest.fixture(params=["trainable", "frozen"])
def folder(request, undisturbed, tmp_path):
    """A student of a finished run, and its run."""
    shutil.copytree(undisturbed[request.param], tmp_path / "run")
    assert main(["student", str(tmp_path / "run"), "--out", str(tmp_path / "student"), "--student", "1"]) == 0
    return tmp_path / "student"


def test_a_student_embeds_as_it_was_measured(folder, tmp_path):
    results = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    (measured,) = [r for r in results if r["method"] == "ptm_st" and r["seeds"]["student"] == 1]
    student = pairstill.load_student(folder)
    assert student.facts["retrieval_mean_recall"] == measured["mean_recall"] and student.facts["num_pairs"] == 10
    config = settings_of_run(tmp_path / "run")
    manifest = build_manifest(config.data, Path(config.cache_dir))
    images = student.embed_images(manifest.image_paths("test"))
    texts = student.embed_texts(manifest.captions("test"))
    recalls = retrieval_ranks(images, texts, torch.tensor(manifest.caption_owner("test"))).recalls
    assert recalls.mean == pytest.approx(measured["mean_recall"], abs=1e-3)
    assert images.norm(dim=1).allclose(torch.ones(len(images))) and student.embed_texts([]).shape == (0, texts.shape[1])
    assert "load_student" in (folder / "README.md").read_text()


def test_what_is_no_student_or_another_tower_is_told(folder, tmp_path, capsys):
    assert main(["student", str(tmp_path / "run"), "--out", str(folder)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["student", str(tmp_path / "run"), "--out", str(tmp_path / "other"), "--student", "2"]) == 2
    assert "student is 2; the run has 2, numbered from 0" in capsys.readouterr().err
    form = ("--format", "sentence_transformers")
    assert main(["student", str(tmp_path / "run"), "--out", str(tmp_path / "other"), *form]) == 2
    assert "sentence-transformers has no modules" in capsys.readouterr().err
    about = read_sealed(folder / "student.json")
    write_sealed(folder / "student.json", {**about, "text_encoder": {**about["text_encoder"], "digest": "0" * 64}})
    with pytest.raises(ArtifactError, match="was trained with another text tower"):
        pairstill.load_student(folder)
    write_sealed(folder / "student.json", {**about, "version": 9})
    with pytest.raises(ArtifactError, match="of version 9; this pairstill reads"):
        pairstill.load_student(folder)
    with pytest.raises(ArtifactError, match="does not exist"):
        pairstill.load_student(tmp_path / "run")
