"""Exports of whole runs: read back to the same recalls, with a card that says what was measured."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from pairstill.cli import main
from pairstill.config import DataConfig, ImageConfig, RunConfig, TextConfig
from pairstill.core.errors import DataError
from pairstill.core.schema import ImageRecord
from pairstill.data.manifest import Manifest
from pairstill.distilled import DistilledSet
from pairstill.exchange.settings import LAYOUTS
from pairstill.run.data_facts import describe_data
from pairstill.run.description import check_data
from pairstill.run.export import public_settings


@pytest.fixture
def run(undisturbed, tmp_path):
    """A finished run that may be written to."""
    shutil.copytree(undisturbed["trainable"], tmp_path / "run")
    return tmp_path / "run"


def export(run, layout, *options):
    out = run.parent / layout
    assert main(["export", str(run), "--format", layout, "--out", str(out), *options]) == 0
    return out


def evaluate(tiny, out, run_dir, *options):
    """Evaluate an export with its own settings; the tiny run's file only says where its cache is."""
    cache = yaml.safe_load(Path(tiny("evaluate", run_dir)[2]).read_text())["cache_dir"]
    fixed = ["--run_dir", str(run_dir), "--cache_dir", cache, "--device", "cpu", "--threads", "1"]
    return main(["evaluate", "--distilled", str(out), *fixed, "--evaluate.methods", '["distilled"]', *options])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_format_is_evaluated_to_the_same_recalls(run, tiny, results, tmp_path, layout):
    out = export(run, layout, "--measure", "never")
    assert evaluate(tiny, out, tmp_path / "check") == 0
    own = [line for line in results(run) if line["method"] == "ptm_st"]
    assert len(own) == 2 and results(tmp_path / "check") == own


def test_the_card_says_what_png_costs(run, undisturbed, results, capsys):
    cards = [(export(run, layout) / "README.md").read_text() for layout in ("imagefolder", "webdataset")]
    assert capsys.readouterr().err.count("Students on PNG images: 2 of 2 ") == 1  # measured once, for all formats
    cost = json.loads((run / "png_cost.json").read_text())["cost"]
    assert cost["exact"] == [line["mean_recall"] for line in results(run) if line["method"] == "ptm_st"]
    loss = (sum(cost["exact"]) - sum(cost["png"])) / 2
    change = "gain" if loss < 0 else "loss"
    for text in cards:
        assert f"a {change} of {abs(loss):.2f} ± " in text and "| PTM-ST | 10 |" in text and "procedural scenes" in text
    assert results(run) == results(undisturbed["trainable"])


def test_a_run_on_a_disk_that_is_only_read_is_exported(run, monkeypatch, capsys):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    export(run, "parquet")
    export(run, "webdataset", "--measure=never")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    text = (export(run, "imagefolder") / "README.md").read_text()
    assert "not measured (the run's folder could not be written to)" in text
    assert "the run's folder cannot be written to" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_an_export_is_pushed_when_it_is_there_already(run, tmp_path, capsys, monkeypatch):
    out, pushed = export(run, "parquet"), []
    monkeypatch.setattr("pairstill.exchange.hub.push", lambda folder, name, public: pushed.append((folder, name)))
    (out / "README.md").write_text("of mine")
    assert main(["export", str(run), "--format", "parquet", "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    export(run, "parquet", "--push", "someone/pairs")
    assert pushed == [(out, "someone/pairs")] and (out / "README.md").read_text() == "of mine"


def test_without_the_real_pairs_nothing_is_measured_or_guessed(run, capsys):
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["data"] |= {"source": "table", "root": str(run / "gone"), "annotations": "pairs.csv"}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    shutil.rmtree(run / "trajectories")
    (run / "trajectories").mkdir()
    text = (export(run, "imagefolder") / "README.md").read_text()
    assert "not measured (the real pairs or the towers could not be used)" in text and str(run) not in text
    assert "What PNG costs is not measured" in capsys.readouterr().err
    out = run.parent / "asked"
    assert main(["export", str(run), "--format", "imagefolder", "--out", str(out), "--measure", "always"]) == 1
    assert not out.exists()


def test_an_export_tells_nothing_of_this_machine(run):
    out = export(run, "parquet", "--licence", "CC BY 4.0")
    told = "".join(path.read_text() for path in out.iterdir() if path.suffix != ".parquet")
    assert str(run.parent) not in told and "cache_dir" not in told and "CC BY 4.0" in told
    config = RunConfig()
    assert yaml.safe_load(public_settings(config))["distill"]["inner_steps"] == config.distill.inner_steps


def test_public_settings_name_no_folder_of_this_machine(tmp_path):
    (tmp_path / "encoder").mkdir()
    away = str(tmp_path / "away")
    data = DataConfig(source="karpathy", root=away, annotations=f"{away}/pairs.json", images="~/someone/photos")
    config = RunConfig(data=data, text=TextConfig(name=str(tmp_path / "encoder")), image=ImageConfig(name=away))
    of_open_clip = replace(
        config, text=TextConfig(name=f"open_clip:{away}"), image=ImageConfig(name=f"open_clip:{away}")
    )
    told = public_settings(of_open_clip)
    assert str(tmp_path) not in told and yaml.safe_load(told)["image"]["name"] == "open_clip:away"
    told = public_settings(config)
    assert str(tmp_path) not in told and "someone" not in told
    settings = yaml.safe_load(told)
    assert (settings["data"]["annotations"], settings["data"]["images"]) == ("pairs.json", "photos")
    assert (settings["text"]["name"], settings["image"]["name"]) == ("encoder", "away")


def test_pairs_that_do_not_fit_are_refused(run, undisturbed, tiny, tmp_path, capsys):
    out = export(run, "parquet")
    assert evaluate(tiny, out, tmp_path / "a", "--text.width", "8") == 2
    assert "text_encoder width: 16 of the pairs, 8 in the settings" in capsys.readouterr().err
    assert evaluate(tiny, out, tmp_path / "b", "--method", "lors") == 2
    assert "method: 'ptm_st' of the pairs, 'lors' in the settings" in capsys.readouterr().err
    shutil.copytree(undisturbed["trainable"] / "distilled", tmp_path / "c" / "distilled")
    changed = DistilledSet.load(tmp_path / "c" / "distilled")
    changed.phases[0].images[0] += 1
    changed.save(tmp_path / "c" / "distilled")
    assert evaluate(tiny, out, tmp_path / "c") == 2
    assert "holds another distilled set already" in capsys.readouterr().err


def test_learned_rates_go_with_the_infonce_that_they_were_learned_with(run, tmp_path, capsys):
    old = replace(DistilledSet.load(run / "distilled"), loss="infonce", info_nce="sum")
    old.save(tmp_path / "old")
    asked = ["evaluate", "--config", str(run / "config.yaml"), "--distilled", str(tmp_path / "old")]
    assert main([*asked, "--run_dir", str(tmp_path / "a")]) == 2
    assert "info_nce: 'sum' of the pairs, 'mean' in the settings" in capsys.readouterr().err


def test_runs_without_pairs_and_folders_without_runs_are_refused(tmp_path, capsys):
    assert main(["export", str(tmp_path), "--format", "parquet", "--out", str(tmp_path / "out")]) == 1
    assert "is no run" in capsys.readouterr().err


def test_a_set_that_was_made_of_other_pairs_is_told(tmp_path):
    record = ImageRecord("a.png", ("a",), "train")
    manifest = Manifest.of_records(tmp_path / "pairs.arrow", "table", Path(), [record], ["digest"])
    parts = SimpleNamespace(manifest=manifest)
    made_of = describe_data(parts.manifest)
    check_data(parts, SimpleNamespace(provenance={"data": made_of}))
    others = {**made_of, "fingerprint": "b", "captions": {"train": 2}}
    for before, shown in ((others, r" \(train: 2 captions before, 1 now\)"), ({}, "")):
        with pytest.raises(DataError, match=f"not those that the distilled set was made of{shown}; put .* or do"):
            check_data(parts, SimpleNamespace(provenance={"data": before}), ", or do")
