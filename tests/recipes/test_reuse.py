"""Teachers and distilled pairs are found again by their content, and by nothing else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pairstill.cli import main
from pairstill.cli.command import settings_of_run
from pairstill.distilled import DistilledSet
from pairstill.run import reuse
from pairstill.run.pipeline import Run
from pairstill.run.reuse import content_key
from pairstill.storage import load_tensors
from pairstill.teachers.trajectory import Trajectory


@pytest.fixture(scope="module")
def start(tiny, tmp_path_factory):
    """Do a stage of a tiny frozen run with a cache of its own, where teachers are found again."""
    root = tmp_path_factory.mktemp("reuse")

    def run(stage, name, *options):
        frozen = ["--image.trainable=false", "--heads.image=true", "--heads.width=8", f"--cache_dir={root / 'cache'}"]
        assert main(tiny(stage, root / name, "--reuse=true", *frozen, *options)) == 0
        return root / name

    return run


@pytest.fixture(scope="module")
def first(start):
    """A distilled run whose teachers keep the snapshots 2 and 3."""
    return start("distill", "first")


def teachers_of(run):
    return json.loads((run / "teachers.json").read_text())["trajectories"]


def listing(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_teachers_live_below_the_cache(first, events):
    (folder,) = (first.parent / "cache" / "teachers").glob("*/*")
    assert folder.name == "epochs_2-3" and teachers_of(first) == str(folder)
    assert not (first / "trajectories").exists() and len(list(folder.glob("expert_*"))) == 2
    assert len(events(first, "teacher_epoch")) == 6 and not events(first, "teachers_found")


def test_another_distillation_finds_them(start, first, events, capsys):
    run = start("distill", "other", "--distill.inner_steps=1")
    assert teachers_of(run) == teachers_of(first)
    assert not events(run, "teacher_epoch") and events(run, "teachers_found")[0]["found"] == 2
    assert "Teachers found again: 2 of 2" in " ".join(capsys.readouterr().err.split())
    alone = start("distill", "alone", "--distill.inner_steps=1", "--reuse=false")
    assert (alone / "trajectories").is_dir() and len(events(alone, "teacher_epoch")) == 6
    one, two = (load_tensors(folder / "distilled" / "distilled.safetensors") for folder in (run, alone))
    assert one.keys() == two.keys() and all((one[name] == two[name]).all() for name in one)


def test_more_teachers_join_them(start, first, events):
    before = listing(Path(teachers_of(first)))
    run = start("teach", "more", "--teacher.num_experts=3")
    assert teachers_of(run) == teachers_of(first) and len(events(run, "teacher_epoch")) == 3
    after = listing(Path(teachers_of(first)))
    assert after.keys() - before.keys() == {"expert_0002.safetensors"}
    assert all(after[name] == content for name, content in before.items() if name != ".lock")


def test_snapshots_that_were_not_kept_are_made_in_a_folder_of_their_own(start, first, events, capsys):
    phase = '[{"num_pairs": 6, "outer_steps": 2, "range_start": 0, "range_end": 0, "endpoint": 1}]'
    run = start("teach", "earlier", f"--distill.phases={phase}")
    assert teachers_of(run).endswith("epochs_1") and len(events(run, "teacher_epoch")) == 6
    assert "but not their snapshots [1]" in " ".join(capsys.readouterr().err.split())
    everything = start("teach", "all", "--teacher.keep=all", "--teacher.num_experts=3")
    assert teachers_of(everything).endswith("epochs_1-3")
    # the largest folder that holds them serves those who need fewer; what one asks for stays what it gets
    again = start("teach", "again", f"--distill.phases={phase}", "--teacher.num_experts=1")
    assert teachers_of(again) == teachers_of(everything) and not events(again, "teacher_epoch")
    assert start("teach", "first") == first and teachers_of(first).endswith("epochs_2-3")
    joined = start("teach", "joined", "--teacher.num_experts=4", f"--distill.phases={phase}")
    assert Trajectory.open(Path(teachers_of(joined)) / "expert_0003.safetensors").epochs == (1, 2, 3)


@pytest.mark.parametrize("option", ["--heads.width=6", "--data.scenes.seed=1"])
def test_what_makes_other_teachers_finds_none(start, first, events, option):
    run = start("teach", option.strip("-"), option)
    assert teachers_of(run) != teachers_of(first) and len(events(run, "teacher_epoch")) == 6


def test_a_cleared_cache_only_costs_time(start, first, events):
    run = start("teach", "cleared", "--seed=7")
    path = Path(teachers_of(run)) / "expert_0001.safetensors"
    before = load_tensors(path)
    shutil.rmtree(run.parent / "cache" / "teachers")
    assert start("teach", "cleared", "--seed=7") == run
    after = load_tensors(path)
    assert len(events(run, "teacher_epoch")) == 12
    assert before.keys() == after.keys() and all((before[name] == after[name]).all() for name in before)


def test_a_run_that_has_teachers_of_its_own_goes_on_with_them(start, events):
    run = start("teach", "own", "--reuse=false")
    start("teach", "own")
    assert len(events(run, "teacher_epoch")) == 6 and not (run / "teachers.json").exists()


def test_the_same_distillation_is_found_again(start, events):
    made = start("distill", "made", "--seed=11")
    copy = start("distill", "copy", "--seed=11")
    assert events(made, "distill_step") and not events(copy, "distill_step") and events(copy, "distilled_found")
    assert (made / "distilled" / "distilled.json").read_bytes() == (copy / "distilled" / "distilled.json").read_bytes()
    # pairs that were changed since are not taken
    changed = DistilledSet.load(made / "distilled")
    changed.phases[0].images[0] += 1
    changed.save(made / "distilled")
    assert events(start("distill", "anew", "--seed=11"), "distill_step")


def test_pairs_of_other_code_or_settings_have_another_key(start, first, tmp_path):
    (tmp_path / "other.py").write_text("")
    config = settings_of_run(first)
    keys = set()
    for changed in (config, replace(config, seed=12)):
        with Run(replace(changed, run_dir=str(tmp_path / "run"))) as run:
            keys |= {content_key(run.context), content_key(run.context, tmp_path)}
            assert content_key(run.context) in keys
    assert len(keys) == 4


def test_code_is_known_by_its_files_and_not_by_git(tmp_path):
    def digest_of(name, files):
        for path, content in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(content)
        return reuse.code_digest(tmp_path / name)

    one = digest_of("one", {"a.py": "1", "below/b.py": "2"})
    assert one == digest_of("two", {"a.py": "1", "below/b.py": "2", "notes.txt": "3"})
    others = ({"a.py": "2", "below/b.py": "2"}, {"a.py": "1", "b.py": "2"}, {"a.py": "1"})
    assert len({one, *(digest_of(f"other{number}", files) for number, files in enumerate(others))}) == 4


@pytest.mark.parametrize("other", ["nothing", "settings"])
def test_pairs_that_two_settings_made_are_nobody_elses(start, first, events, interrupt, other):
    seed = f"--seed={20 + len(other)}"  # that no other test distils with
    interrupt(event="distill_step", phase=1, step=2)
    with pytest.raises(AssertionError):
        start("distill", f"begun {other}", seed)
    interrupt(event="distill_step", phase=1, step=4)
    with pytest.raises(AssertionError):
        start("distill", f"begun {other}", seed, *(["--student.epochs=1"] if other == "settings" else []))
    interrupt()
    start("distill", f"begun {other}", seed)
    found = events(start("distill", f"asked {other}", seed), "distilled_found")
    assert bool(found) == (other == "nothing")


def test_settings_that_an_older_run_did_not_know_are_at_their_default(start, capsys):
    run = start("distill", "older", "--seed=9")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    del settings["reuse"], settings["distill"]["blend"], settings["distill"]["phases"][0]["range_start"]
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    assert start("teach", "older", "--seed=9") == run
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(AssertionError):
        start("teach", "older", "--seed=9", "--distill.blend=true")
    assert "distill.blend: False before, True now" in capsys.readouterr().err
