import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pairstill.cli.command import settings_of_run
from pairstill.config import (
    DataConfig,
    EvaluateConfig,
    FeaturesFirstConfig,
    HeadsConfig,
    ImageConfig,
    PhaseConfig,
    RunConfig,
    StudentConfig,
    TrajectoryConfig,
)
from pairstill.core.errors import ArtifactError, ConfigError, DataError
from pairstill.core.provenance import commit, environment
from pairstill.evaluate.ledger import Key, Record
from pairstill.events import StageBegan, StageEnded
from pairstill.methods import with_method
from pairstill.run.folder import FREE_SETTINGS, GIVEN, RunFolder, is_run, other_settings, plain, read_settings, to_yaml
from pairstill.storage import digest


@pytest.fixture
def config(tmp_path):
    return RunConfig(run_dir=str(tmp_path / "run"))


def result(mean_recall, student=0, **values):
    seeds = {"run": 0, "student": student}
    about = {"method": "ptm_st", "protocol": "strict", "measured_as": "a", "seeds": seeds}
    return {**about, "mean_recall": mean_recall, **values}


def add_result(folder, line):
    folder.ledger("retrieval").add(Record(Key.of("retrieval", line), line))


def test_a_new_folder_records_settings_and_environment(config):
    folder = RunFolder(config)
    assert yaml.safe_load((folder.path / "config.yaml").read_text()) == plain(config)
    stored = json.loads((folder.path / "environment.json").read_text())
    assert stored["seed"] == 0
    assert stored["packages"]["torch"] is not None
    assert stored.keys() == environment(config.seed).keys()


def test_settings_are_kept_as_given_and_as_resolved(config):
    given = replace(config, method="lors")
    folder = RunFolder(with_method(given), given=given)
    as_given, resolved = (yaml.safe_load((folder.path / name).read_text()) for name in (GIVEN, "config.yaml"))
    assert (as_given, resolved) == (plain(given), plain(with_method(given)))
    assert as_given["distill"]["ema"] and not resolved["distill"]["ema"]
    assert with_method(settings_of_run(folder.path)) == with_method(given)


@pytest.mark.parametrize("method", ["apm", "ncfm", "herding", "lors"])
def test_a_run_from_before_methods_had_settings_of_their_own_goes_on(config, method):
    """Its settings had those of all methods, as the method had set them then."""
    shared = replace(config.distill, phases=(PhaseConfig(num_pairs=7, outer_steps=4),), phased=False, ema=False)
    shared = replace(shared, outer=replace(shared.outer, lr_images=0.3), shortcut=method != "lors")
    frozen = replace(config, image=ImageConfig(trainable=False), heads=HeadsConfig(image=True, width=4))
    before = replace(frozen, method=method, distill=shared)
    now = with_method(before)
    stored = plain(before)
    others = {"projector": {"ridges": [0.3]}, "characteristic": {"clusters": 4}}
    stored["distill"] |= {"objective": "whatever it was", **others}
    del stored["evaluate"]["closed_form"]
    if method == "apm":
        now = replace(now, distill=replace(now.distill, projector=replace(now.distill.projector, ridges=(0.3,))))
    if method == "ncfm":
        clusters = replace(now.distill.characteristic, clusters=4)
        now = replace(now, distill=replace(now.distill, characteristic=clusters))
    folder = RunFolder(now)
    add_result(folder, result(1.0))
    (folder.path / "config.yaml").write_text(yaml.safe_dump(stored))
    assert other_settings(folder.path / "config.yaml", now) == []
    found = settings_of_run(folder.path)
    assert found.distill == now.distill
    assert found.closed_form.ridges == (0.3,), "of every method's pairs, as then"
    path = folder.path
    del folder
    assert RunFolder(now).path == path
    with pytest.raises(ConfigError, match="num_pairs"):
        RunFolder(with_method(replace(before, distill=replace(shared, phases=(PhaseConfig(num_pairs=8),)))))


def test_opening_again_with_the_same_settings_goes_on(config):
    add_result(RunFolder(config), result(1.0))
    assert RunFolder(config).results() == [result(1.0)]


def test_a_folder_where_nothing_was_made_binds_nobody(config):
    RunFolder(config)
    other = replace(config, seed=1)
    assert "seed: 1" in (RunFolder(other).path / "config.yaml").read_text()


def test_a_new_folder_where_nothing_was_made_can_be_forsaken(config, tmp_path):
    deep = replace(config, run_dir=str(tmp_path / "runs" / "deep" / "run"))
    folder = RunFolder(deep)
    folder.metrics.write("stage", stage="prepare")
    folder.remove_if_unused()
    assert list(tmp_path.iterdir()) == []
    again = RunFolder(deep)  # in the same process
    assert again.path.is_dir()
    (again.path.parent / "other").mkdir()
    again.remove_if_unused()
    assert [path.name for path in (tmp_path / "runs" / "deep").iterdir()] == ["other"]


@pytest.mark.parametrize("name", ["trajectories", "notes.txt", "teachers.json"])
def test_a_folder_that_holds_anything_is_not_forsaken(config, name):
    folder = RunFolder(config)
    (folder.path / name).mkdir()
    folder.remove_if_unused()
    assert (folder.path / name).exists() and (folder.path / "config.yaml").exists()


def test_a_folder_that_was_there_before_is_not_forsaken(config, tmp_path):
    (tmp_path / "run").mkdir()
    folder = RunFolder(config)
    folder.remove_if_unused()
    assert (folder.path / "config.yaml").exists()
    RunFolder(config, writes=False).remove_if_unused()
    assert (folder.path / "config.yaml").exists()


def test_a_warm_start_from_before_it_kept_to_a_range_is_another_one(config):
    """Before `in_range` and `rate_after` features were free, and pixels went on at the full rate."""
    warm = replace(config, image=ImageConfig(trainable=False), heads=HeadsConfig(image=True, width=4))
    warm = replace(warm, distill=replace(warm.distill, features_first=FeaturesFirstConfig(steps=5)))

    def differing(now):
        settings = plain(warm)
        settings["distill"]["features_first"] = {"steps": now.distill.features_first.steps, "lr_features": 0.01}
        path = Path(config.run_dir).with_suffix(".yaml")
        path.write_text(yaml.safe_dump(settings))
        return other_settings(path, now)

    assert differing(warm) == [
        "distill.features_first.in_range: False before, True now",
        "distill.features_first.rate_after: 1.0 before, 0.1 now",
    ]
    then = FeaturesFirstConfig(steps=5, in_range=False, rate_after=1.0)
    assert differing(replace(warm, distill=replace(warm.distill, features_first=then))) == []
    # without a warm start these settings mean nothing
    assert differing(replace(warm, distill=config.distill)) == []


def test_other_settings_are_refused_and_named(config):
    RunFolder(config).trajectories.mkdir()
    other = replace(
        config,
        seed=1,
        data=DataConfig(split_seed=7),
        distill=TrajectoryConfig(phases=(PhaseConfig(num_pairs=50),)),
    )
    with pytest.raises(ConfigError, match="holds a run with other settings; choose another run_dir") as caught:
        RunFolder(other)
    message = str(caught.value)
    assert "seed: 0 before, 1 now" in message
    assert "data.split_seed: 0 before, 7 now" in message
    assert "distill.phases" in message and "50" in message
    assert message.count("\n  - ") == 3
    # the refused settings must not have replaced those of the run
    assert yaml.safe_load((RunFolder(config).path / "config.yaml").read_text())["seed"] == 0


def test_trials_of_rates_bind_a_run_too_before_anything_is_measured(config):
    RunFolder(config).rates.mkdir()
    with pytest.raises(ConfigError, match="teacher.lr_image: 0.1 before, 0.2 now"):
        RunFolder(replace(config, teacher=replace(config.teacher, lr_image=0.2)))


@pytest.mark.parametrize(("old", "captions"), [("true", "plain"), ("false", "as_they_are")])
def test_a_run_from_when_captions_were_normalised_or_not_goes_on(config, old, captions):
    now = replace(config, data=DataConfig(captions=captions))
    folder = RunFolder(now)
    add_result(folder, result(1.0))
    path = folder.path / "config.yaml"
    before = to_yaml(now).replace(f"captions: {captions}", f"normalise_captions: {old}")
    path.write_text(f"{before}# sha256 of the lines above: {digest(before)}\n")
    del folder
    assert settings_of_run(path.parent).data.captions == captions
    assert RunFolder(now).results() == [result(1.0)]
    path.write_text(f"{before}# sha256 of the lines above: {digest(before)}\n")
    with pytest.raises(ConfigError, match=f"data.captions: '{captions}' before, 'paper' now"):
        RunFolder(replace(config, data=DataConfig(captions="paper")))


def test_free_settings_may_change(config):
    RunFolder(config).trajectories.mkdir()
    changed = replace(
        config,
        device="cpu",
        threads=1,
        ranks_timeout_minutes=1,
        cache_dir="elsewhere",
        student=StudentConfig(epochs=3),
        evaluate=EvaluateConfig(num_students=1),
    )
    folder = RunFolder(changed)
    assert yaml.safe_load((folder.path / "config.yaml").read_text())["student"]["epochs"] == 3


def test_the_tracker_may_change_and_hears_what_the_log_hears(config):
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    RunFolder(config).trajectories.mkdir()
    folder = RunFolder(replace(config, tracker="tensorboard"))
    folder.hear(StageEnded(stage="teach", seconds=1.0, peak_memory_bytes=1))
    assert any((folder.path / "tensorboard").iterdir()) and (folder.path / "metrics.jsonl").is_file()


def test_the_seconds_of_a_sitting_that_was_killed_count_once(config):
    path = RunFolder(config).path / "metrics.jsonl"
    lines = [("sitting", 10.0, {}), ("stage_began", 10.0, {"stage": "teach"}), ("teacher_epoch", 14.0, {})]
    path.write_text("".join(json.dumps({"event": e, "time": t, **values}) + "\n" for e, t, values in lines))
    for _ in range(2):
        folder = RunFolder(config)
        folder.hear(StageBegan(stage="teach"))
        folder.add_seconds("teach", 2.5)
        folder.hear(StageEnded(stage="teach", seconds=2.5, peak_memory_bytes=1))
        folder.hear(StageBegan(stage="distill"))
    assert folder.seconds("teach") == 4.0 + 2 * 2.5
    assert json.loads((folder.path / "seconds.json").read_text())["teach"] == 2 * 2.5


def test_every_free_setting_is_a_setting():
    assert set(FREE_SETTINGS) <= plain(RunConfig()).keys()


def test_a_process_that_does_not_write_leaves_no_trace(config):
    folder = RunFolder(config, writes=False)
    folder.metrics.write("a")
    folder.add_seconds("teach", 1.0)
    assert not folder.path.exists()
    RunFolder(config).add_seconds("teach", 2.0)
    folder.add_seconds("teach", 1.0)
    assert folder.seconds("teach") == 2.0, "it reads what is there"


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="which is a file; give a folder"):
        RunFolder(RunConfig(run_dir=str(tmp_path / "file")))


def test_damaged_settings(config):
    folder = RunFolder(config)
    folder.trajectories.mkdir()
    path = folder.path / "config.yaml"
    path.write_text("a: [")
    with pytest.raises(ArtifactError, match=r"(?s)config\.yaml is not YAML of settings .*or choose another run_dir"):
        RunFolder(config)


@pytest.mark.parametrize(
    "content", [b"seed: \xff", b"[1]", b"5", b"[" * 10**5, b"a: &x [*x", b"a: !!python/object/apply:os.system [id]"]
)
def test_settings_that_are_no_yaml_are_named(config, content):
    folder = RunFolder(config)
    folder.trajectories.mkdir()
    (folder.path / "config.yaml").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"(?s)config\.yaml is not YAML of settings .*delete this file and give"):
        RunFolder(config)


def test_settings_that_a_flipped_bit_changed_are_told_from_those_of_another_run(config):
    folder = RunFolder(config)
    folder.trajectories.mkdir()
    path = folder.path / "config.yaml"
    whole = path.read_text()
    path.write_text(whole.replace("seed: 0", "seed: 1", 1))
    with pytest.raises(ArtifactError, match=r"config\.yaml is damaged, or was edited: .*delete this file and give"):
        RunFolder(config)
    damaged = whole.replace("num_students: 3", "num_students: 2")  # a free setting
    path.write_text(damaged)
    with pytest.raises(ArtifactError, match=r"config\.yaml is damaged, or was edited"):
        RunFolder(config)
    assert path.read_text() == damaged, "damage is not sealed"
    with pytest.raises(ArtifactError, match=r"config\.yaml is damaged, or was edited"):
        settings_of_run(folder.path)
    path.write_text(yaml.safe_dump(plain(config)))
    assert settings_of_run(folder.path) == config, "from before there were checksums"
    path.write_text(whole)
    assert settings_of_run(folder.path) == config
    path.unlink()
    RunFolder(config)


OTHER = """
import sys
from pairstill.config import RunConfig
from pairstill.core.errors import BusyError
from pairstill.run.folder import RunFolder

config = RunConfig(run_dir=sys.argv[1])
for _ in sys.stdin:
    print(RunFolder(config, writes=False).seconds("teach"), flush=True)
    try:
        print(RunFolder(config).seconds("teach"), flush=True)
    except BusyError as error:
        print(error, flush=True)
"""


def test_another_process_is_kept_out_and_readers_are_not(config):
    folder = RunFolder(config)
    folder.add_seconds("teach", 1.5)
    command = [sys.executable, "-c", OTHER, config.run_dir]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:

        def asked():
            other.stdin.write("now\n")
            other.stdin.flush()
            return [other.stdout.readline() for _ in ("as a reader", "as a writer")]

        reader, writer = asked()
        assert reader == "1.5\n" and writer.startswith(f"{config.run_dir} is in use by process {os.getpid()} on")
        del folder
        assert asked() == ["1.5\n", "1.5\n"]
        other.stdin.close()


def test_other_pairs_than_the_run_began_with_are_refused(config):
    folder = RunFolder(config)
    folder.record_data({"fingerprint": "a", "images": {}})
    folder.record_data({"fingerprint": "b", "images": {}})  # nothing was made yet
    folder.trajectories.mkdir()
    folder.record_data({"fingerprint": "b", "images": {"train": 1}})
    with pytest.raises(DataError, match=r"not those that .* was begun with \(train: 1 images before, 2 now\); put"):
        folder.record_data({"fingerprint": "c", "images": {"train": 2}})
    with pytest.raises(DataError, match=r"not those that .* was begun with; put"):
        folder.record_data({"fingerprint": "c", "images": {}})
    path = folder.path / "data.json"
    path.write_text(path.read_text().replace('"b"', '"d"'))
    with pytest.raises(ArtifactError, match=r"data\.json is damaged"):
        folder.record_data({"fingerprint": "b", "images": {}})


def test_damaged_seconds_are_named(config):
    folder = RunFolder(config)
    folder.add_seconds("teach", 1.5)
    path = folder.path / "seconds.json"
    path.write_text(path.read_text().replace("1.5", "9.5"))
    with pytest.raises(ArtifactError, match=r"seconds\.json is damaged"):
        folder.seconds("teach")
    path.write_text("[]")
    with pytest.raises(ArtifactError, match=r"seconds\.json is damaged"):
        folder.add_seconds("teach", 1.5)


def test_seconds_add_up_over_sittings(config):
    assert RunFolder(config).seconds("teach") == 0
    RunFolder(config).add_seconds("teach", 1.5)
    RunFolder(config).add_seconds("distill", 4)
    RunFolder(config).add_seconds("teach", 2.0)
    assert RunFolder(config).seconds("teach") == 3.5
    assert RunFolder(config).seconds("distill") == 4


def test_results_keep_their_order_and_their_numbers(config):
    folder = RunFolder(config)
    assert folder.results() == []
    for student, number in enumerate((0.1, 2.0, 3.25)):
        add_result(folder, result(number, student))
    assert [result["mean_recall"] for result in folder.results()] == [0.1, 2.0, 3.25]
    with pytest.raises(ValueError, match="not JSON compliant"):
        add_result(folder, result(float("nan"), 3))
    assert len(folder.results()) == 3


def test_a_result_takes_the_place_of_the_same_measurement(config):
    folder = RunFolder(config)
    for number, values in enumerate(({}, {"protocol": "paper"}, {"measured_as": "b"}, {"method": "lors"})):
        add_result(folder, result(float(number), **values))
    add_result(folder, result(9.0))
    assert [result["mean_recall"] for result in folder.results()] == [9.0, 1.0, 2.0, 3.0]


def test_artifacts_lie_in_the_run_folder(config):
    folder = RunFolder(config)
    places = [folder.trajectories, folder.distillation, folder.distilled, folder.metrics.path]
    assert [place.parent for place in places] == [folder.path] * 4
    assert len(set(places)) == 4


def test_yaml_holds_every_setting():
    assert yaml.safe_load(to_yaml(RunConfig())) == plain(RunConfig())


def test_commit_is_a_name_or_nothing():
    name = commit()
    assert name is None or len(name.removesuffix("+changes")) == 40


def test_a_run_from_before_info_nce_was_a_choice_took_the_sum(config):
    folder = RunFolder(config)
    folder.distilled.mkdir()
    del folder
    path = Path(config.run_dir, "config.yaml")
    older = {name: value for name, value in plain(config).items() if name != "info_nce"}
    path.write_text(yaml.safe_dump(older, sort_keys=False))
    assert settings_of_run(path.parent) == replace(config, info_nce="sum")
    with pytest.raises(ConfigError, match="info_nce: 'sum' before, 'mean' now"):
        RunFolder(config)
    RunFolder(replace(config, info_nce="sum"))


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", "seed: 0\n"])
def test_settings_that_were_emptied_or_cut_are_damaged_and_not_those_of_another_run(config, content):
    folder = RunFolder(config)
    folder.record_data({"fingerprint": "a", "captions": {}})
    folder.trajectories.mkdir()
    (folder.path / "config.yaml").write_text(content)
    with pytest.raises(
        ArtifactError, match=r"config\.yaml is (damaged|not YAML of settings).*delete this file and give"
    ):
        RunFolder(config)
    with pytest.raises(ArtifactError, match=r"config\.yaml is (damaged|not YAML of settings)"):
        settings_of_run(folder.path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.97, 0.98, 0.99, 0.999])
def test_settings_that_were_cut_are_damaged_wherever_they_were_cut(config, share):
    folder = RunFolder(config)
    folder.record_data({"fingerprint": "a", "captions": {}})
    folder.trajectories.mkdir()
    whole = (folder.path / "config.yaml").read_text()
    # cut behind a line of the last list, they cannot be told from settings of before there were checksums
    (folder.path / "config.yaml").write_text(whole[: int(share * len(whole))].rstrip("\n"))
    with pytest.raises(ArtifactError, match=r"config\.yaml is (damaged|not YAML of settings)"):
        RunFolder(config)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null"])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("data.json", lambda folder: folder.record_data({"fingerprint": "a"})),
        ("seconds.json", lambda folder: folder.seconds("teach")),
        ("teachers.json", lambda folder: folder.trajectories),
        ("phases.json", lambda folder: folder.chosen_phases()),
        ("results.jsonl", lambda folder: folder.results()),
    ],
)
def test_a_file_that_was_emptied_is_named(config, name, read, content):
    folder = RunFolder(config)
    folder.own_trajectories.mkdir()
    (folder.path / name).write_text(content)
    with pytest.raises(ArtifactError, match=f"{name} is (damaged|not valid JSON)"):
        read(folder)


@pytest.mark.parametrize(
    "files",
    [
        {"config.yaml": "# mine\nseed: 3\n", "results.md": "mine", "data.json": "{}", "environment.json": "{}"},
        {"holiday.jpg": "x"},
        {"data.json": '{"fingerprint": 1}', "metrics.jsonl": '{"loss": 1}\n'},
        {".git": ""},
    ],
)
def test_a_folder_of_something_else_is_refused_and_left_as_it_was(config, tmp_path, files):
    (tmp_path / "run").mkdir()
    for name, content in files.items():
        (tmp_path / "run" / name).write_text(content)
    with pytest.raises(ConfigError, match="run_dir is .*not empty and does not hold a run .*choose another run_dir"):
        RunFolder(config)
    assert {path.name: path.read_text() for path in (tmp_path / "run").iterdir()} == files


@pytest.mark.parametrize("kept", ["config.yaml", "environment.json", "data.json", "metrics.jsonl"])
def test_a_run_is_known_by_any_of_its_files_and_goes_on(config, kept):
    folder = RunFolder(config)
    folder.record_data({"fingerprint": "a", "captions": {}})
    folder.metrics.write("stage")
    for path in folder.path.iterdir():
        if path.name != kept:
            path.unlink()
    (folder.path / "notes.txt").write_text("mine")
    del folder
    RunFolder(config)


def test_a_run_of_an_old_version_is_known(config):
    folder = RunFolder(config)
    (folder.path / "config.yaml").write_text(yaml.safe_dump(plain(config)))
    folder.own_trajectories.mkdir()
    (folder.path / ".lock").unlink()
    RunFolder(config)


def test_settings_that_are_a_pipe_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.yaml")
    assert not is_run(tmp_path)
    with pytest.raises(ArtifactError, match="it is not a file"):
        read_settings(tmp_path / "config.yaml")
