"""A sweep of two tiny runs through the command line."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from pairstill.cli import main

TINY = yaml.safe_load((Path(__file__).parent / "tiny.yaml").read_text())


@pytest.fixture
def sweep(tmp_path):
    """Give the command of a sweep, with options."""
    tiny = {**TINY, "reuse": True, "evaluate": {"num_students": 2, "methods": ["distilled"]}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    places = [f"--out={tmp_path / 'out'}", "--cache_dir", str(tmp_path / "cache")]
    return lambda *options: main(["sweep", str(tmp_path / "tiny.yaml"), *places, *options])


def test_two_rows_at_a_time_share_their_teachers_and_stand_in_one_table(sweep, tmp_path, capsys):
    grid = ("--grid", "distill.outer.lr_texts=10,1000", "--jobs", "2")
    assert sweep(*grid, "--list") == 0
    assert capsys.readouterr().out.count("waiting") == 2 and not (tmp_path / "out").exists()
    assert sweep(*grid) == 0
    page = capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines()))
    assert [(row["lr_texts"], row["students"]) for row in rows] == [("10", "2"), ("1000", "2")]
    assert rows[0]["mean"] != rows[1]["mean"] and page.startswith("2 of 2 runs are done.")
    logs = [path.read_text().splitlines() for path in (tmp_path / "out" / "runs").glob("*/seed0/metrics.jsonl")]
    trained = [event for log in logs for event in map(json.loads, log) if event["event"] == "teacher_epoch"]
    assert len(logs) == 2 and len(trained) == TINY["teacher"]["num_experts"] * TINY["teacher"]["epochs"]
    assert sweep(*grid) == 0
    again = capsys.readouterr()
    assert again.out == page and "Begun" not in again.err
    assert sweep(*grid, "--list") == 0 and capsys.readouterr().out.count("done") == 2


def test_nothing_begins_with_a_wrong_key(sweep, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        sweep("--grid", "distill.outer.lr_text=1")
    assert caught.value.code == 2 and "did you mean" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_somebody_else_is_left_alone(sweep, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    assert sweep() == 2
    assert "does not hold a sweep" in capsys.readouterr().err and len(list((tmp_path / "out").iterdir())) == 1
