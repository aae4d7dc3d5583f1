import io
import json

import pytest
from rich.console import Console

from pairstill.runlog import MetricsLog, peak_memory_bytes, progress_bar


def test_one_json_object_per_line(tmp_path):
    log = MetricsLog(tmp_path / "new" / "metrics.jsonl")
    log.write("a", step=1, losses={"image": 0.5})
    log.write("b", note="zwei\nZeilen")
    lines = (tmp_path / "new" / "metrics.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [{k: v for k, v in event.items() if k != "time"} for event in events] == [
        {"event": "a", "step": 1, "losses": {"image": 0.5}},
        {"event": "b", "note": "zwei\nZeilen"},
    ]
    assert events[0]["time"] <= events[1]["time"]


def test_nothing_is_written_before_the_first_event(tmp_path):
    MetricsLog(tmp_path / "metrics.jsonl")
    assert not (tmp_path / "metrics.jsonl").exists()


def test_opening_again_appends(tmp_path):
    path = tmp_path / "metrics.jsonl"
    MetricsLog(path).write("a")
    MetricsLog(path).write("b")
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["a", "b"]


def test_a_line_cut_short_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "a"}\n{"event": "b", "lo')
    MetricsLog(path).write("c")
    lines = path.read_text().splitlines()
    assert lines[:2] == ['{"event": "a"}', '{"event": "b", "lo']
    assert json.loads(lines[2])["event"] == "c"


def test_values_that_are_not_finite_are_refused(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.write("a", loss=float("nan"))
    assert not (tmp_path / "metrics.jsonl").exists()


def test_progress_shows_stage_count_and_status():
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with progress_bar(console) as progress:
        task = progress.add_task("Teachers", total=4, status="")
        progress.update(task, advance=3, status="loss 0.5")
    shown = console.file.getvalue()
    assert "Teachers" in shown and "3/4" in shown and "loss 0.5" in shown


def test_the_peak_of_memory_holds_what_was_allocated():
    before = peak_memory_bytes("cpu")
    block = bytearray(64 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    assert peak_memory_bytes("cpu") >= max(before, len(block))
