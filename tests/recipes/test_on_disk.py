"""Students of the smallest files of a run's pairs, and real pairs that take as many bytes."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pairstill.cli.command import settings_of_run
from pairstill.distilled import DistilledSet
from pairstill.evaluate.protocol import Evaluator
from pairstill.exchange.compact import caption_bytes, sizes
from pairstill.run.context import RunContext
from pairstill.run.on_disk import jpeg_quality


@pytest.fixture
def finished(undisturbed, tmp_path) -> Path:
    return shutil.copytree(undisturbed["frozen"], tmp_path / "run")


def test_students_see_the_pairs_as_png_and_as_jpeg_and_random_pairs_take_as_many_bytes(
    do, options_of, finished, results
):
    more = ("--evaluate.num_students=1", "--evaluate.jpeg_qualities=[30,100]")
    do("evaluate", finished, *options_of["frozen"], *more, "--evaluate.methods=[on_disk,on_disk_jpeg,random_on_disk]")
    rows, made = {row["method"]: row for row in results(finished)}, DistilledSet.load(finished / "distilled")
    png, jpeg = rows["ptm_st_on_disk"], rows["ptm_st_on_disk_jpeg"]
    quality = jpeg["jpeg_quality"]
    assert png["disk_bytes"] == sizes(made).total and "jpeg_quality" not in png
    assert quality in (30, 100, None) and jpeg["disk_bytes"] == sizes(made, quality).total
    random = rows["random_on_disk"]
    assert random["num_pairs"] == 2 or random["disk_bytes"] <= png["disk_bytes"]


def test_a_coreset_has_as_many_photos_with_captions_as_take_the_bytes_of_a_run(do, finished, results, tmp_path):
    folder = do(
        *("select", tmp_path / "chosen", "--method=herding", "--as_many_bytes_as", str(finished)),
        *("--evaluate.num_students=1", "--evaluate.methods=[distilled]"),
    )
    chosen = DistilledSet.load(folder / "distilled")
    more = ("--evaluate.num_students=1", "--evaluate.methods=[distilled]")
    do("evaluate", folder, "--method=herding", f"--distill.num_pairs={chosen.num_pairs}", *more)
    (measured,) = (row["disk_bytes"] for row in results(folder))
    captions = sum(caption_bytes(phase.captions) for phase in chosen.phases)
    assert captions < measured, "photos are files, not pixels of the tower's size"
    assert chosen.num_pairs >= 2


def test_photos_that_are_kept_have_no_quality(finished, monkeypatch):
    context = RunContext.open(settings_of_run(finished), writes=False)
    monkeypatch.setattr(Evaluator, "validate", lambda *_: pytest.fail("there is nothing to choose"))
    made = DistilledSet.load(finished / "distilled")
    kept = replace(made, phases=tuple(replace(phase, photos=(b"file",) * phase.num_pairs) for phase in made.phases))
    assert jpeg_quality(context, kept) is None


@pytest.mark.parametrize(("recalls", "chosen"), [((5, 6, 5, 4, 9), 90), ((5, 4, 9, 9, 9), None), ((5, 5, 5, 5, 5), 70)])
def test_the_quality_goes_down_until_validation_recall_falls(finished, monkeypatch, recalls, chosen):
    config = settings_of_run(finished)
    qualities = replace(config.evaluate, jpeg_qualities=(70, 80, 90, 100))
    context = RunContext.open(replace(config, evaluate=qualities), writes=False)
    found = iter(recalls)  # of PNG, then of JPEG from 100 on
    monkeypatch.setattr(Evaluator, "validate", lambda self, distilled: next(found))
    made = DistilledSet.load(finished / "distilled")
    assert jpeg_quality(context, made) == chosen == jpeg_quality(context, made)
