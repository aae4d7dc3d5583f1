"""The benchmark of pairs behind other encoders: its rows, its queue and its tables."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml

from pairstill.cli.command import settings_from
from pairstill.config import HeadsConfig, ImageConfig, RunConfig
from pairstill.core.errors import ConfigError
from pairstill.methods import with_method
from pairstill.run.folder import plain
from pairstill.studies.cross_encoder.study import Crossing
from pairstill.tools.reproduce.measured import Measured
from pairstill.tools.reproduce.rows import Row, placed
from pairstill.tools.reproduce.run import _students_tasks, _tasks
from pairstill.tools.reproduce.settings import Reproduction
from pairstill.tools.reproduce.transfer import transfer_rows
from pairstill.tools.reproduce.transfer_page import lines_of, transfer_results, transfer_tables, write_transfer

LITE = {"tf_efficientnet_lite0": "LITE0", "tf_efficientnet_lite1": "LITE1"}
SETTINGS = Reproduction("transfer", data_root="DATA", image_weights="MOBILENET", tower_weights=LITE)
OUT = Path("out/transfer")


@pytest.fixture(scope="module")
def config_of():
    known = cache(lambda *arguments: settings_from(arguments))
    rows = {row.name: row for row in transfer_rows(SETTINGS)}
    return lambda name: placed(rows[name].load(lambda arguments: known(*arguments)), rows[name], 0, SETTINGS, OUT)


def test_every_kind_is_there_in_every_size_and_full_data_behind_every_pair_of_encoders():
    names = [row.name for row in transfer_rows(SETTINGS)]
    assert len(names) == len(set(names)) == 3 * 2 + 5 * 3
    assert names[0] == "full/mobilenetv1_075/minilm" and {"kept_both/199", "pixels_lite0/499"} < set(names)


def test_no_set_is_made_with_the_tower_that_is_never_seen():
    frozen = RunConfig(image=ImageConfig(trainable=False), heads=HeadsConfig(image=True, width=8))
    for row in transfer_rows(SETTINGS):
        if row.students is not None:
            assert not any("lite1" in image.name for image in row.change(frozen).images)
            assert row.students.image_encoders[2] == "tf_efficientnet_lite1=LITE1,size=160"


@pytest.mark.parametrize(
    ("name", "towers", "kept"),
    [
        ("kept_mobilenet/99", [("mobilenetv1_075", "MOBILENET")], True),
        ("kept_both/199", [("mobilenetv1_075", "MOBILENET"), ("tf_efficientnet_lite0", "LITE0")], True),
        ("pixels_lite0/499", [("tf_efficientnet_lite0", "LITE0")], False),
    ],
)
def test_a_set_has_its_towers_with_their_weights_and_teachers_from_the_cache(config_of, name, towers, kept):
    config = config_of(name)
    assert [(image.name, image.weights) for image in config.images] == towers
    assert all((image.size, image.trainable) == (160, False) for image in config.images)
    assert config.distill.num_pairs == int(name.rpartition("/")[2])
    assert (config.method == "ptm_st_kept", config.matching.texts) == (kept, "free")
    assert config.trajectories_dir is None and config.run_dir == f"out/transfer/{name}/seed0"


def test_the_largest_sets_of_photos_take_more_steps(config_of):
    steps = {pairs: config_of(f"kept_both/{pairs}").matching.phases[0].outer_steps for pairs in (99, 199, 499)}
    assert steps == {99: 300, 199: 300, 499: 800}


def test_full_data_is_of_its_own_encoders(config_of):
    config = config_of("full/tf_efficientnet_lite1/hashed_ngrams")
    assert (config.image.name, config.image.weights, config.text.name) == (*list(LITE.items())[1], "hashed_ngrams")
    assert config.evaluate.methods == ("full",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "tower_weights names nothing, but transfer needs"),
        ({"tower_weights": {"resnet18": "FILE"}}, "names resnet18, but transfer needs the weights of tf_eff"),
        ({"benchmark": "flickr8k", "tower_weights": LITE}, "but flickr8k needs the weights of no further"),
    ],
)
def test_weights_must_be_those_that_are_needed(values, message):
    with pytest.raises(ConfigError, match=message):
        Reproduction(**{"benchmark": "transfer", "data_root": "DATA", "image_weights": "MOBILENET", **values})


def test_a_queue_makes_the_pairs_first_and_measures_their_students_then(tmp_path):
    config = RunConfig(run_dir=str(tmp_path / "run"))
    plain_row = Row("full/a/b", "full/a/b", Path("full.yaml"), lambda given: given, None, makes_pairs=False)
    crossed = replace(plain_row, makes_pairs=True, students=Crossing(("a=W,size=8",), ("b",), map_text=True))
    runs = {"full/seed0": (plain_row, config), "set/seed0": (crossed, config)}
    full, pairs = _tasks(runs)
    (students,) = _students_tasks(runs)
    assert (full.command, pairs.command, students.command) == ("evaluate", "distill", "evaluate")
    assert pairs.makes == tmp_path / "run/distilled/distilled.safetensors"
    assert students.options == ("--image_encoder=a=W,size=8", "--text_encoder=b", "--map_text")
    assert (students.name, students.makes) == ("set/seed0/students", tmp_path / "run/cross.jsonl")
    assert students.digest != replace(students, options=()).digest


def _line(row: str, recall: float, tower: str = "", text: str = "", **more: object) -> dict[str, object]:
    named = {"image": f"{tower} (w.safetensors, 160 px)", "text": f"{text} (8)"} if tower else {}
    size = {"bytes": 2_000_000, "disk_bytes": 1_000}
    return {"row": row, "mean_recall": recall, "num_pairs": 99, **size, **named, **more}


def test_shares_are_of_the_students_own_full_data():
    mobilenet, lite1 = "mobilenetv1_075", "tf_efficientnet_lite1"
    (table,) = transfer_tables(
        [
            _line("full/mobilenetv1_075/minilm", 40.0),
            _line("full/tf_efficientnet_lite1/minilm", 50.0),
            _line("kept_both/99", 30.0, mobilenet, "minilm", own_images=True),
            _line("kept_both/99", 32.0, mobilenet, "minilm", own_images=True),
            _line("kept_both/99", 20.0, lite1, "minilm", own_images=False),
        ]
    )
    title, _, header, _, full, kept = table.splitlines()
    assert title == "### minilm" and header.startswith("| pairs | made of | mobilenetv1_075 |")
    assert full == "|  | full data | 40.0 |  | 50.0 | 2.0 MB | 1.0 kB |"
    assert kept == "| 99 | kept photos, MobileNet and Lite0 | 31.0 ± 1.4 * (78 %) |  | 20.0 (40 %) | 2.0 MB | 1.0 kB |"


def test_of_a_student_that_was_measured_twice_the_last_counts_and_other_settings_are_left_out(tmp_path):
    settings = Reproduction("table4", scale="scenes")
    row = Row("kept_both/99", "kept_both/99", tmp_path / "row.yaml", lambda given: given, None, students=Crossing())
    row.settings.write_text("")
    folder = tmp_path / "kept_both/99/seed0"
    (folder / "distilled").mkdir(parents=True)
    kept = plain(with_method(placed(RunConfig(), row, 0, settings, tmp_path)))
    (folder / "config.yaml").write_text(yaml.safe_dump(kept))
    about = {"method": "ptm_st", "seeds": {"run": 0, "student": 0}, "pairs": None, "config": "/somewhere"}
    lines = [
        _line("", recall, "mobilenetv1_075", "minilm", measured_as=str(recall), **about) for recall in (10.0, 20.0)
    ]
    for line in lines:
        del line["row"]
    (folder / "cross.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shutil.copytree(folder, folder.with_name("seed0 before"))  # set aside: no seed
    measured = transfer_results([row], settings, tmp_path, lambda arguments: RunConfig())
    assert [line["mean_recall"] for line in lines_of(measured)] == [20.0]
    assert "config" not in lines_of(measured)[0]
    assert "20.0" in write_transfer(measured, tmp_path / "out")
    other = transfer_results([row], settings, tmp_path, lambda arguments: replace(RunConfig(), info_nce="sum"))
    assert other == Measured({}, other.left_out) and "info_nce" in other.left_out[0]
