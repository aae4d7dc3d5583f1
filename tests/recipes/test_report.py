"""The page of tiny runs: finished, half done, and without their real pairs."""

import shutil
from html import unescape

import pytest

from pairstill.cli import main
from pairstill.distilled import DistilledSet
from pairstill.storage import read_json_lines, write_json_lines


def content(folder):
    """Every file of a folder, by its name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def page(tmp_path):
    """Make the page of a run and return what it says."""

    def make(run, *options):
        assert main(["report", str(run), "--out", str(tmp_path / "report.html"), *options]) == 0
        return unescape((tmp_path / "report.html").read_text(encoding="utf-8"))

    return make


@pytest.mark.parametrize("mode", ["trainable", "frozen"])
def test_a_finished_run(undisturbed, results, page, mode):
    run = undisturbed[mode]
    before = content(run)
    shown = page(run)
    assert content(run) == before, "a run is only read"
    assert "Finished." in shown
    distilled = DistilledSet.load(run / "distilled")
    for caption in (*distilled.phases[0].captions, *distilled.phases[1].captions):
        assert caption in shown
    assert shown.count('alt="Start of pair') == shown.count('alt="Change of pair') == 10
    (recall,) = [r["mean_recall"] for r in results(run) if r["method"] == "ptm_st" and r["seeds"]["student"] == 0]
    assert f"its mean recall is {recall:.1f}." in shown, "the student of the examples is the one that was measured"
    assert shown.count("first right one at rank") == 12
    assert shown.count("(moving averages; the curves and the log show the rates of each step).") == 2


def test_a_run_that_has_teachers_only(do, page, tmp_path):
    run = do("teach", tmp_path / "run")
    shown = page(run)
    assert "6 of 6 teacher epochs done" in shown and "Teachers: loss" in shown
    assert "There are no pairs yet" in shown and "No student is measured yet" in shown


def unsealed(settings):
    """Return the text of a run's settings without their checksum, as older runs have them."""
    return settings.read_text().rpartition("# sha256")[0]


def test_a_run_whose_real_pairs_have_changed(undisturbed, page, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed["frozen"], run)
    settings = run / "config.yaml"
    settings.write_text(unsealed(settings).replace("size: 16\n    seed: 0", "size: 16\n    seed: 1"))
    shown = page(run)
    assert "are not those that" in shown
    assert 'alt="Start of pair' not in shown and 'alt="Distilled image of pair' in shown
    assert "The real pairs cannot be used" in shown


def test_a_run_whose_real_pairs_are_gone(undisturbed, page, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed["frozen"], run)
    settings = run / "config.yaml"
    gone = "source: table\n  root: /nowhere\n  annotations: pairs.csv\n"
    text = unsealed(settings).replace("source: scenes\n  root: null\n  annotations: null\n", gone)
    settings.write_text(text)
    shown = page(run)
    assert "which needs the run's real pairs and encoders: " in shown and "/nowhere" in shown
    assert 'alt="Distilled image of pair' in shown


def test_examples_can_be_left_out(undisturbed, page):
    shown = page(undisturbed["frozen"], "--retrieval", "false")
    assert "trains no student for examples" in shown and 'alt="Start of pair' in shown


def test_a_folder_that_holds_no_run(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    assert "is no run" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_what_is_not_asked_for_does_not_make_a_run_finished(undisturbed, page, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed["frozen"], run)
    results = [r for r in read_json_lines(run / "results.jsonl") if r["method"] != "full"]
    more = [{**r, "seeds": {**r["seeds"], "student": r["seeds"]["student"] + 2}} for r in results]
    write_json_lines(run / "results.jsonl", [*results, *more])
    assert "Measured: 4 of 6 students." in page(run, "--retrieval", "false")


def test_damaged_events_are_left_out_and_counted(undisturbed, page, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed["frozen"], run)
    with (run / "metrics.jsonl").open("a") as metrics:
        for event in ("teacher_epoch", "distill_step", "validation", "stage"):
            metrics.write(f'{{"event": "{event}", "stage": "pixels"}}\n')
    shown = page(run, "--retrieval", "false")
    assert "Finished. 4 damaged events of metrics.jsonl are left out." in shown and "Loss, pixels" in shown
    assert "The test split has only 12 images: for a caption, ten images drawn blindly hold" in shown
