import errno
import io
import json
import os

import pytest
from rich.console import Console

from pairstill.core.errors import StorageError
from pairstill.events import Counted, StudentMeasured, TeacherEpoch, Validated
from pairstill.report.curves import curve_points
from pairstill.run import log as runlog
from pairstill.run.bars import SILENT_SECONDS, LineProgress, progress_bar
from pairstill.run.log import MetricsLog, killed_seconds, peak_memory_bytes, read_events, whole_events


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


def logged(path, *events):
    log = MetricsLog(path)
    for event, values in events:
        log.write(event, **values)


def test_of_steps_that_a_resumed_run_repeats_the_last_counts_in_the_place_of_the_first(tmp_path):
    path = tmp_path / "metrics.jsonl"
    steps = [(1, 1, 0.9), (1, 2, 0.8), (1, 3, 0.7), (1, 2, 0.81), (1, 3, 0.71), (1, 4, 0.6), (2, 1, 0.5)]
    logged(path, *(("distill_step", {"phase": p, "stage": "pixels", "step": s, "loss": v}) for p, s, v in steps))
    found = [(e["phase"], e["step"], e["loss"]) for e in read_events(path)]
    assert found == [(1, 1, 0.9), (1, 2, 0.81), (1, 3, 0.71), (1, 4, 0.6), (2, 1, 0.5)]


def test_events_that_differ_in_any_part_of_their_name_are_all_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    logged(
        path,
        *(("distill_step", {"phase": 1, "stage": stage, "step": 1}) for stage in ("features", "pixels")),
        *(("teacher_epoch", {"expert": expert, "epoch": 1}) for expert in (0, 1)),
        *(("validation", {"phase": phase, "step": 1}) for phase in (1, 2)),
        *(("student", {"method": "random", "mean_recall": 1.0}) for _ in range(2)),
        *(
            ("student", {"method": "random", "protocol": "strict", "student": student, "measured_as": "a"})
            for student in (0, 1, 1)
        ),
    )
    assert len(read_events(path)) == 10, "the last student was measured again"


def test_what_several_towers_have_is_kept_by_tower_and_one_alone_is_not_named(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    about = {"method": "random", "protocol": "strict", "measured_as": "a", "mean_recall": 1.0}
    for tower in ("a (1)", "b (2)", "b (2)"):
        log.hear(TeacherEpoch(expert=0, epoch=1, loss=1.0, validation_mean_recall=9.0, tower=tower))
        log.hear(StudentMeasured(student=0, tower=tower, **about))
    found = [(event["event"], event["tower"]) for event in read_events(log.path)]
    assert found == [(name, tower) for tower in ("a (1)", "b (2)") for name in ("teacher_epoch", "student")]
    assert StudentMeasured(student=0, **about).to_json() == {"student": 0, **about}


def test_reading_leaves_out_lines_cut_short_and_what_is_no_event(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"event": "a"}\n{"event": "b", "lo\n[1]\n\xff\xfe\n{"event": []}\n' + b"[" * 10**5)
    with path.open("ab") as stream:
        stream.write(b'\n{"event": "c", "step": ' + b"9" * 5000 + b'}\n{"event": "c"}\n{"eve')
    assert [event["event"] for event in read_events(path)] == ["a", "c"]
    assert read_events(tmp_path / "none.jsonl") == []


def test_events_are_written_under_their_names_and_those_without_one_are_not(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.hear(Counted(what="Students", done=1, total=2))
    log.hear(Validated(phase=1, step=25, validation_mean_recall=31.5))
    (event,) = read_events(log.path)
    assert event.pop("time") > 0
    assert event == {"event": "validation", "phase": 1, "step": 25, "validation_mean_recall": 31.5}


def test_values_that_are_not_finite_are_refused(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.write("a", loss=float("nan"))
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_line_that_a_full_disk_cuts_short_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.write("a")
    whole, write, room = path.read_bytes(), os.write, [7]

    def into_the_rest(descriptor, data):
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: room.pop()])

    monkeypatch.setattr(runlog.os, "write", into_the_rest)
    with pytest.raises(StorageError, match=r"metrics\.jsonl cannot be written \(No space left on device\)"):
        log.write("b")
    monkeypatch.undo()
    assert path.read_bytes() == whole
    log.write("c")
    assert len(path.read_text().splitlines()) == 2


def test_a_clock_that_goes_back_changes_the_times_alone(tmp_path):
    clock = iter([2e9, 1.0, -5.0])
    log = MetricsLog(tmp_path / "metrics.jsonl", clock=lambda: next(clock))
    for step in range(3):
        log.write("a", step=step)
    events = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [(event["step"], event["time"]) for event in events] == [(0, 2e9), (1, 1.0), (2, -5.0)]


def test_progress_shows_stage_count_and_status():
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with progress_bar(console) as progress:
        task = progress.add_task("Teachers", total=4, status="")
        progress.update(task, advance=3, status="loss 0.5")
    shown = console.file.getvalue()
    assert "Teachers" in shown and "3/4" in shown and "loss 0.5" in shown


def test_a_narrow_terminal_cuts_the_status_and_never_counts_or_times():
    console = Console(file=io.StringIO(), width=60, force_terminal=True)
    with progress_bar(console, lambda: "Stage 2 of 4: teach") as progress:
        progress.add_task("Phase 1 of 2", total=900, completed=187, status="loss 1.8, " + 9 * "very long ")
    shown = console.file.getvalue()
    bars = [line for line in shown.splitlines() if "Phase 1 of 2" in line]
    assert bars and all("187/900" in line and "…" in line for line in bars)
    assert "Stage 2 of 4: teach" in shown


@pytest.mark.parametrize("terminal", [True, False])
def test_what_has_nothing_to_do_leaves_nothing(terminal):
    console = Console(file=io.StringIO(), width=60, force_terminal=terminal, force_interactive=terminal)
    with progress_bar(console, lambda: "Stage 4 of 4: evaluate") as progress:
        progress.add_task("Students", total=0, status="")
    shown = console.file.getvalue()
    assert "Students" not in shown and (shown.endswith("\x1b[1A\x1b[2K") if terminal else shown == "")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def lines():
    """Do steps that take some seconds each, without a terminal, and return what is printed."""

    def shown(steps, total, seconds, **first):
        clock, console = Clock(), Console(file=io.StringIO(), width=20)
        with LineProgress(console, lambda: "about 1:00 left", clock) as progress:
            task = progress.add_task("Phase 1 of 2", total=total, status="", **first)
            for step in range(1, steps + 1):
                clock.now += seconds
                progress.update(task, advance=1, status=f"loss {step}")
        return console.file.getvalue().splitlines()

    return shown


def test_a_file_gets_a_line_for_each_tenth(lines):
    tenth = "Phase 1 of 2: {0}00 of 1,000, loss {0}00, about 1:00 left"
    assert lines(1000, 1000, 1.0) == [
        *(tenth.format(number) for number in range(1, 10)),
        "Phase 1 of 2: 1,000 of 1,000 in 0:16:40, loss 1000, about 1:00 left",
    ]


def test_a_file_gets_no_lines_that_follow_each_other_quickly(lines):
    assert lines(100, 100, 0.3) == [
        "Phase 1 of 2: 34 of 100, loss 34, about 1:00 left",
        "Phase 1 of 2: 68 of 100, loss 68, about 1:00 left",
        "Phase 1 of 2: 100 of 100 in 0:00:30, loss 100, about 1:00 left",
    ]
    assert lines(2, 2, 0.01) == ["Phase 1 of 2: 2 of 2 in 0:00:00, loss 2, about 1:00 left"]


def test_a_file_says_how_far_a_task_is_that_goes_on_or_ends_early(lines):
    assert lines(3, 100, 0.1, completed=70) == ["Phase 1 of 2: 73 of 100, loss 3, about 1:00 left"]
    assert lines(0, 100, 0.1, completed=70) == []


def test_a_file_that_is_silent_for_a_minute_says_where_the_whole_stands():
    clock, console, heading = Clock(), Console(file=io.StringIO(), width=20), ["Stage 2 of 4: teach"]
    with LineProgress(console, lambda: "", clock, lambda: heading[0]) as progress:
        progress.break_silence()  # of nothing
        progress.add_task("Checking the pairs", total=None, status="")
        clock.now = SILENT_SECONDS - 1.0
        progress.break_silence()  # too early
        clock.now += 1
        progress.break_silence()
        task = progress.add_task("Epochs", total=1000, status="loss 2")
        clock.now += SILENT_SECONDS
        progress.update(task, completed=1)
        clock.now += SILENT_SECONDS
        progress.update(task, completed=2)
        progress.break_silence()
        clock.now += 1
        progress.break_silence()  # it was not silent
        clock.now += SILENT_SECONDS
        heading[0] = "Stage 2 of 4: teach, about 2:00:00 left in all"
        progress.break_silence()
        progress.update(task, completed=1000)
        clock.now += SILENT_SECONDS
        progress.break_silence()  # of what is at its end, but the first task, of which nobody knows it
    assert console.file.getvalue().splitlines() == [
        "Checking the pairs: 0, Stage 2 of 4: teach",
        "Epochs: 2 of 1,000, loss 2, Stage 2 of 4: teach, about 16:38:00 left of this",
        "Epochs: 2 of 1,000, loss 2, Stage 2 of 4: teach, about 2:00:00 left in all",
        "Epochs: 1,000 of 1,000 in 0:03:01, loss 2",
        "Checking the pairs: 0, Stage 2 of 4: teach, about 2:00:00 left in all",
    ]


def test_seconds_of_sittings_that_were_killed_are_counted_up_to_their_last_event(tmp_path):
    path = tmp_path / "metrics.jsonl"
    written = [
        ("sitting", 100.0, {}),
        ("stage_began", 100.0, {"stage": "teach"}),
        ("teacher_epoch", 107.0, {"expert": 0, "epoch": 1}),  # and a kill, after which the same epoch comes again
        ("sitting", 500.0, {}),
        ("dropped_pair", 510.0, {}),
        ("stage_began", 520.0, {"stage": "teach"}),
        ("teacher_epoch", 524.0, {"expert": 0, "epoch": 1}),
        ("stage", 525.0, {"stage": "teach"}),
        ("stage_began", 530.0, {"stage": "distill"}),
        ("stage_began", 540.0, {"stage": 7}),
        ("distill_step", 533.5, {}),
        ("sitting", 520.0, {}),  # of a clock that was put back
        ("stage_began", 520.0, {"stage": "distill"}),
        ("distill_step", 510.0, {}),
    ]
    lines = [json.dumps({"event": event, "time": time, **values}) for event, time, values in written]
    path.write_text("\n".join(lines) + '\n{"event": "stage_began", "sta')
    assert killed_seconds(path) == {"teach": 7.0, "distill": 3.5}
    assert killed_seconds(tmp_path / "none.jsonl") == {}


def test_the_peak_of_memory_holds_what_was_allocated():
    before = peak_memory_bytes()
    block = bytearray(64 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    assert peak_memory_bytes() >= max(before, len(block))


def test_events_that_lack_what_is_read_of_them_are_counted():
    step = {"event": "distill_step", "phase": 1, "stage": "pixels", "step": 1, "steps": 2, "time": 1.5}
    step |= {"losses": {"image": 0.5}, "inner_lr_image": 0.1, "inner_lr_text": 1}
    damaged = [{**step, "losses": {"image": "0.5"}}, {**step, "phase": None}, {"event": "stage"}]
    assert whole_events([step, *damaged, {"event": "other"}]) == (
        [step, {"event": "other"}],
        "3 damaged events of metrics.jsonl are left out.",
    )
    assert whole_events([step]) == ([step], "")


def test_events_from_before_there_were_stages_are_whole_and_of_pixels(tmp_path):
    # as they were written then, the second step twice: once before a kill, once after it
    step = (
        '{"event": "distill_step", "time": 1700000000.0, "phase": 1, "step": %d, "steps": 40, "losses": {"image": 1.5, '
        '"text": 1.25}, "experts": [0], "start_epochs": [1], "inner_lr_image": 0.1, "inner_lr_text": 0.1}'
    )
    student = '{"event": "student", "time": 1700000001.0, "method": "ptm_st", "protocol": "strict", "mean_recall": 9.5}'
    validation = '{"event": "validation", "time": 1.0, "phase": 1, "step": 2, "validation_mean_recall": 7.5}'
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join([step % 1, step % 2, step % 2, validation, student]) + "\n")
    events, damaged = whole_events(read_events(path))
    assert damaged == "" and [event["event"] for event in events] == ["distill_step"] * 2 + ["validation", "student"]
    assert [(event["stage"], event["step"]) for event in events[:2]] == [("pixels", 1), ("pixels", 2)]
    assert [point.quantity for point in curve_points(events)].count("validation_recall") == 1


@pytest.mark.parametrize("place", ["a link", "a pipe"])
def test_nothing_but_the_log_itself_is_written_to(tmp_path, place):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    (tmp_path / "mine.txt").write_text("the user's own")
    os.mkfifo(path) if place == "a pipe" else path.symlink_to("mine.txt")
    with pytest.raises(StorageError, match=r"metrics\.jsonl cannot be written"):
        log.write("start")
    assert (tmp_path / "mine.txt").read_text() == "the user's own"
    if place == "a link":
        with pytest.raises(StorageError, match=r"metrics\.jsonl cannot be written"):
            MetricsLog(path)
        assert (tmp_path / "mine.txt").read_text() == "the user's own"
