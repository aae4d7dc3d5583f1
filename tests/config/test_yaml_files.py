"""Settings files that build on others."""

from pathlib import Path

import pytest

from pairstill.config import RunConfig
from pairstill.config.defaults import filled
from pairstill.config.yaml_files import in_todays_words, overlay, parse_yaml, read_settings
from pairstill.core.errors import ConfigError
from pairstill.methods.stored import todays
from pairstill.storage.checksums import SETTINGS_SEAL


def test_settings_above_win_and_lists_are_exchanged():
    below = {"a": 1, "b": {"c": [1, 2], "d": 3}}
    assert overlay(below, {"b": {"c": [4]}, "e": None}) == {"a": 1, "b": {"c": [4], "d": 3}, "e": None}
    assert overlay(below, {}) == overlay({}, below) == below
    assert below == {"a": 1, "b": {"c": [1, 2], "d": 3}}


def test_bases_are_read_in_order_from_where_the_file_is(tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "all.yaml").write_text("a: 1\nb: 1\nc: 1\nd: 1\n")
    (tmp_path / "one.yaml").write_text("base: all.yaml\nb: 2\nc: 2\n")
    (tmp_path / "two.yaml").write_text("c: 3\n")
    (tmp_path / "rows" / "row.yaml").write_text("base: [../one.yaml, ../two.yaml]\nd: 4\n")
    assert read_settings(tmp_path / "rows" / "row.yaml", todays) == {"a": 1, "b": 2, "c": 3, "d": 4}
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert read_settings(tmp_path / "empty.yaml", todays) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: nowhere.yaml", "nowhere.yaml cannot be read"),
        ("base: a.yaml", "builds on itself"),
        ("base: {file: b.yaml}", "give the path of a file, or a list of them"),
        ("- a\n- b", "holds list at its top"),
        ("a: [", "cannot be read as YAML"),
        ("a: !!python/object/apply:os.getcwd []", "cannot be read as YAML"),
    ],
)
def test_what_is_no_settings_file_is_named(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_settings(tmp_path / "a.yaml", todays)
    assert "a.yaml" in str(caught.value) or "nowhere" in str(caught.value)


@pytest.mark.parametrize(("old", "new"), [("true", "plain"), ("false", "as_they_are")])
def test_settings_from_when_captions_were_normalised_or_not_mean_what_they_meant(tmp_path, old, new):
    (tmp_path / "old.yaml").write_text(f"data:\n  root: here\n  normalise_captions: {old}\nseed: 3\n")
    assert read_settings(tmp_path / "old.yaml", todays) == {"data": {"root": "here", "captions": new}, "seed": 3}


def test_the_one_ridge_of_older_settings_is_taken_as_it_is():
    old = {"distill": {"projector": {"ridge": 0.2, "weight": 1.0}, "ema": False}, "seed": 1}
    new = {"distill": {"projector": {"ridges": [0.2], "weight": 1.0}, "ema": False}, "seed": 1}
    assert in_todays_words(old) == new


def test_the_two_grids_of_rates_of_older_settings_are_the_one_of_references():
    old = {"references": {"rate_scales": [0.2, 2.0], "momentum": 0.5}, "cross": {"rate_scales": [0.1], "ridge": 0.1}}
    one = {"references": {"momentum": 0.5}, "cross": {"ridge": 0.1}, "rate_scales": [0.2, 2.0]}
    assert in_todays_words({"evaluate": old}) == {"evaluate": one}
    only = {"evaluate": {"cross": {"rate_scales": [0.1]}}}
    assert in_todays_words(only) == {"evaluate": {"cross": {}, "rate_scales": [0.1]}}
    both = {"evaluate": {"rate_scales": [1.0], "cross": {"rate_scales": [0.1]}}}
    assert in_todays_words(both) == both, "which is refused as a setting that is not known"


def test_settings_of_today_stay():
    for settings in ({}, {"data": None}, {"data": {"captions": "paper"}, "seed": 1}, {"distill": {"ema": False}}):
        assert in_todays_words(settings) == settings


def test_what_a_run_stored_keeps_its_meaning_and_what_is_written_has_todays_default(tmp_path):
    (tmp_path / "stored.yaml").write_text(f"seed: 3\n{SETTINGS_SEAL}0123\n")
    (tmp_path / "written.yaml").write_text("seed: 3\n")
    (tmp_path / "both.yaml").write_text("base: stored.yaml\nseed: 4\n")
    assert read_settings(tmp_path / "stored.yaml", todays) == filled({"seed": 3}, RunConfig())
    assert read_settings(tmp_path / "stored.yaml", todays)["info_nce"] == "sum"
    assert read_settings(tmp_path / "written.yaml", todays) == {"seed": 3}
    both = read_settings(tmp_path / "both.yaml", todays)
    assert (both["info_nce"], both["seed"]) == ("sum", 4)
    (tmp_path / "stored.yaml").write_text(f"info_nce: mean\n{SETTINGS_SEAL}0123\n")
    assert read_settings(tmp_path / "stored.yaml", todays)["info_nce"] == "mean"
    # runs from before there were seals are known by what lies beside their settings
    (tmp_path / "config.yaml").write_text("seed: 3\n")
    assert read_settings(tmp_path / "config.yaml", todays) == {"seed": 3}
    (tmp_path / "environment.json").write_text("{}")
    assert read_settings(tmp_path / "config.yaml", todays)["info_nce"] == "sum"
    # exports, which are not sealed there, likewise
    (tmp_path / "settings.yaml").write_text("seed: 3\n")
    assert read_settings(tmp_path / "settings.yaml", todays) == {"seed": 3}
    (tmp_path / "pairstill.json").write_text("{}")
    assert read_settings(tmp_path / "settings.yaml", todays)["info_nce"] == "sum"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # nine lines whose last stands for nine to the ninth values
        (
            "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9)),
            "holds more",
        ),
        ("a0: &a0 {x: 1}\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}]\n" for i in range(60)), "nested deeper"),
        ("a: &a [*a]", r"the alias \*a stands for nothing, or for what it is in"),
        ("a: *a", r"the alias \*a stands for nothing"),
        ("a: " + "[" * 100_000, "nested deeper"),
        ("- &a x\n" * 60_000 + "- y\n" * 60_000, "holds more"),
        ("a: " + "x" * 4_000_000, "it has 4,000,003 characters"),
        ("a: [", "expected"),
    ],
)
def test_yaml_that_is_larger_or_deeper_than_settings_is_refused_before_it_is_made(text, message):
    with pytest.raises(ValueError, match=message):
        parse_yaml(text)


def test_aliases_that_settings_need_are_read():
    text = "rates: &rates [0.1, 0.2]\nteacher: &teacher {lr: 1}\nstudent: {<<: *teacher, rates: *rates}\n"
    assert parse_yaml(text)["student"] == {"lr": 1, "rates": [0.1, 0.2]}


@pytest.mark.parametrize("path", ["/dev/zero", "."])
def test_what_is_no_file_is_not_read(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read as YAML settings: it is no file"):
        read_settings(Path(path), todays)
