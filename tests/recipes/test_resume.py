import os
import signal
import subprocess
import sys

import pytest

from pairstill.cli import main
from pairstill.cli.command import settings_of_run
from pairstill.data.build import build_manifest
from pairstill.distilled import DistilledSet
from pairstill.storage import load_tensors, read_sealed, save_tensors

KILLER = """
import os, signal, sys
from pairstill.cli import main
from pairstill.cli.command import settings_of_run
from pairstill.data.build import build_manifest
from pairstill.distilled import DistilledSet
from pairstill.storage import load_tensors, read_sealed, save_tensors
from pairstill.run.log import MetricsLog

write, event = MetricsLog.write, {event!r}

def killed(self, name, **values):
    if event.items() <= {{"event": name, **values}}.items():
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, name, **values)

MetricsLog.write = killed
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("mode", "phase", "step"),
    [("trainable", 1, 1), ("trainable", 1, 4), ("trainable", 2, 3), ("frozen", 1, 4), ("frozen", 2, 1)],
)
def test_an_interrupted_distillation_goes_on_to_the_same_bits(
    tiny, do, options_of, undisturbed, same_set, interrupt, events, capsys, tmp_path, mode, phase, step
):
    folder = tmp_path / "run"
    interrupt(event="distill_step", phase=phase, step=step)
    assert main(tiny("distill", folder, *options_of[mode])) == 130
    assert not (folder / "distilled").exists()
    done = len(events(folder, "distill_step"))
    interrupt()
    capsys.readouterr()
    do("distill", folder, *options_of[mode])
    told = capsys.readouterr().err
    assert same_set(folder, undisturbed[mode])
    # checkpoints come every second step and at a phase's end: it went on from the last, not from the beginning
    first = events(folder, "distill_step")[done]
    assert (first["phase"], first["step"]) == (phase, step - (step - 1) % 2)
    assert (f"Phase {phase} of 2: going on at step {first['step']} of " in told) == (first["step"] > 1)
    assert len(events(folder, "teacher_epoch")) == 6


def test_teachers_that_see_views_go_on_to_the_same_trajectories(
    tiny, do, options_of, same_teachers, interrupt, events, tmp_path
):
    options = (*options_of["frozen"], "--teacher.augment", "paper", "--teacher.views", "2", "--reuse", "false")
    whole, folder = do("teach", tmp_path / "whole", *options), tmp_path / "run"
    interrupt(event="teacher_epoch", expert=1, epoch=2)
    assert main(tiny("teach", folder, *options)) == 130
    interrupt()
    do("teach", folder, *options)
    assert same_teachers(folder, whole)
    plain = do("teach", tmp_path / "plain", *options_of["frozen"], "--reuse", "false")
    assert not same_teachers(plain, whole)


def test_an_interrupted_validation_changes_nothing(tiny, do, undisturbed, same_set, interrupt, tmp_path):
    interrupt(event="validation", phase=1, step=3)
    assert main(tiny("distill", tmp_path / "run")) == 130
    interrupt()
    assert same_set(do("distill", tmp_path / "run"), undisturbed["trainable"])


def test_a_distillation_interrupted_again_and_again(tiny, do, undisturbed, same_set, interrupt, tmp_path):
    for phase, step in ((1, 2), (1, 5), (2, 2)):
        interrupt(event="distill_step", phase=phase, step=step)
        assert main(tiny("distill", tmp_path / "run")) == 130
        interrupt()
    assert same_set(do("distill", tmp_path / "run"), undisturbed["trainable"])


@pytest.mark.parametrize(("mode", "epoch"), [("trainable", 1), ("trainable", 3), ("frozen", 1)])
def test_teachers_interrupted_between_and_within_experts_give_the_same_trajectories(
    tiny, do, options_of, undisturbed, same_set, same_teachers, interrupt, events, tmp_path, mode, epoch
):
    folder = tmp_path / "run"
    interrupt(event="teacher_epoch", expert=1, epoch=epoch)
    assert main(tiny("teach", folder, *options_of[mode])) == 130
    assert len(list((folder / "trajectories").glob("expert_*"))) == 1
    interrupt()
    do("run", folder, *options_of[mode])
    assert [e["expert"] for e in events(folder, "teacher_epoch")] == [0] * 3 + [1] * (epoch - 1) + [1] * 3
    assert same_teachers(folder, undisturbed[mode])
    assert same_set(folder, undisturbed[mode])


def test_an_interrupted_evaluation_keeps_the_students_that_were_measured(
    tiny, do, undisturbed, interrupt, events, results, tmp_path
):
    folder = tmp_path / "run"
    interrupt(event="student", method="ptm_st")
    assert main(tiny("run", folder)) == 130
    assert [r["method"] for r in results(folder)] == ["random", "random"]
    interrupt()
    do("run", folder)
    assert results(folder) == results(undisturbed["trainable"])
    measured = ["random", "random", "ptm_st", "ptm_st", "full", "full"]
    assert [e["method"] for e in events(folder, "student")] == measured, "no result lacks its event"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")
@pytest.mark.parametrize(
    "event",
    [
        {"event": "teacher_epoch", "expert": 1, "epoch": 2},
        {"event": "distill_step", "phase": 1, "step": 4},
    ],
    ids=lambda event: event["event"],
)
def test_a_killed_process_leaves_a_folder_that_goes_on_to_the_same_bits(
    tiny, do, undisturbed, same_set, same_teachers, results, tmp_path, event
):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", KILLER.format(event=event), *tiny("run", folder)]
    found = subprocess.run(command, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    assert found.returncode == -signal.SIGKILL, found.stderr.decode()
    assert not (folder / "distilled").exists()
    do("run", folder)
    assert same_set(folder, undisturbed["trainable"])
    assert same_teachers(folder, undisturbed["trainable"])
    assert results(folder) == results(undisturbed["trainable"])


def test_a_run_goes_on_with_the_photos_and_captions_that_it_has_chosen(tiny, do, options_of, interrupt, tmp_path):
    more = ("--method", "ptm_st_kept", "--distill.texts", "mixture", "--distill.glossary", "20", "--reuse", "false")
    folder = tmp_path / "run"
    interrupt(event="distill_step", phase=1, step=1)
    assert main(tiny("distill", folder, *options_of["frozen"], *more)) == 130
    interrupt()
    path = folder / "distillation" / "phases.photos.safetensors"
    before = load_tensors(path)
    assert read_sealed(folder / "distillation" / "content.json")["key"] is not None
    # as another machine would have chosen; the first captions of images
    other = {name: rows // 5 * 5 + (rows + 1) % 5 for name, rows in before.items()}
    save_tensors(path, other)
    (folder / "distillation" / "phases.candidates.safetensors").unlink()
    do("distill", folder, *options_of["frozen"], *more)
    made = DistilledSet.load(folder / "distilled")
    captions = build_manifest(settings_of_run(folder).data, tmp_path / "cache").captions("train")
    told = [caption for phase in made.phases for caption in phase.captions]
    assert told == [captions[n] for name in sorted(other) for n in other[name].tolist()]
    assert len(set(made.glossary)) == len(made.glossary) == 20 and set(made.glossary) <= set(captions)
