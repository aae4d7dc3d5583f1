"""What counts as measured."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pairstill.config import EvaluateConfig, OuterConfig, RunConfig, StudentConfig
from pairstill.core.errors import ArtifactError, ConfigError
from pairstill.evaluate.measurement import measured_as
from pairstill.methods import with_method
from pairstill.run.folder import plain
from pairstill.tools.reproduce.measured import Measured, results_of
from pairstill.tools.reproduce.pages import left_out_lines
from pairstill.tools.reproduce.rows import Row, placed
from pairstill.tools.reproduce.settings import Reproduction

CONFIG = RunConfig(student=StudentConfig(epochs=7), evaluate=EvaluateConfig(protocol="both"))
SCENES = Reproduction("table4", scale="scenes")


def _result(seed: int = 0, protocol: str = "strict", measured: RunConfig = CONFIG, **values: str) -> dict[str, Any]:
    about = {"method": "ptm_st", "protocol": protocol, "seeds": {"run": seed}}
    return about | {"measured_as": measured_as(measured, "ptm_st", protocol)} | values


@pytest.fixture
def row_of(tmp_path: Path) -> Callable[[str], Row]:
    (tmp_path / "row.yaml").write_text("")
    return lambda name: Row(name, f"rows/{name}", tmp_path / "row.yaml", lambda loaded: loaded, "teachers")


@pytest.fixture
def keep(tmp_path: Path) -> Callable[..., Path]:
    """Write results of a row's run that had these settings; `None` for the settings writes none."""

    def write(row: Row, results: list[dict[str, Any]], config: RunConfig | None = CONFIG, seed: int = 0) -> Path:
        folder = tmp_path / row.folder / f"seed{seed}"
        folder.mkdir(parents=True)
        (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in results))
        if config is not None:
            run = plain(with_method(placed(config, row, seed, SCENES, tmp_path)))
            (folder / "config.yaml").write_text(yaml.safe_dump(run))
        return folder

    return write


def _measured(rows: list[Row], out: Path, config: RunConfig = CONFIG) -> Measured:
    return results_of(rows, SCENES, out, lambda arguments: config)


def test_results_count_that_were_measured_as_the_settings_say_now(tmp_path, row_of, keep):
    rows = [row_of(name) for name in ("one", "two", "none")]
    now = [_result(seed, protocol) for seed in (0, 1) for protocol in ("strict", "paper")]
    before = _result(measured=RunConfig())
    keep(rows[0], [before, *now[:2]])
    keep(rows[0], now[2:], seed=1)
    keep(rows[1], [before])
    assert _measured(rows, tmp_path) == Measured({"one": now, "two": []})


def test_a_run_with_other_settings_than_its_row_is_left_out_and_named(tmp_path, row_of, keep):
    rows = [row_of(name) for name in ("same", "rate", "free")]
    faster = replace(CONFIG, distill=replace(CONFIG.distill, outer=OuterConfig(lr_texts=5000.0)))
    keep(rows[0], [_result()])
    folder = keep(rows[1], [_result()], faster)
    keep(rows[1], [_result(1)], seed=1)
    keep(rows[2], [_result()], replace(CONFIG, tracker="tensorboard", student=StudentConfig(epochs=3)))
    found = _measured(rows, tmp_path)
    assert found.results == {"same": [_result()], "rate": [_result(1)], "free": [_result()]}
    (sentence,) = found.left_out
    assert sentence.startswith(f"rate, seed 0: {folder} has other settings, distill.outer.lr_texts: 5000.0 before, ")
    assert left_out_lines(found.left_out)[1] == f"- {sentence}" and left_out_lines(()) == []


def test_other_data_count_as_other_settings(tmp_path, row_of, keep):
    row = row_of("one")
    keep(row, [_result()], replace(CONFIG, data=replace(CONFIG.data, split_seed=7)))
    assert "data.split_seed: 7 before, 0 now" in _measured([row], tmp_path).left_out[0]


def test_a_setting_that_an_older_run_lacks_has_its_default(tmp_path, row_of, keep):
    row = row_of("one")
    path = keep(row, [_result()]) / "config.yaml"
    before = yaml.safe_load(path.read_text())
    del before["distill"]["hypergradient"], before["seeds"]
    path.write_text(yaml.safe_dump(before))
    assert _measured([row], tmp_path) == Measured({"one": [_result()]})
    path.unlink()
    with pytest.raises(ArtifactError, match="config.yaml is missing"):
        _measured([row], tmp_path)


def test_rows_that_were_measured_on_other_test_data_stand_in_no_table_together(tmp_path, row_of, keep):
    rows = [row_of(name) for name in ("old", "one", "two")]
    keep(rows[0], [_result()])  # from before results had fingerprints
    keep(rows[1], [_result(test_data="a" * 64)])
    folder = keep(rows[2], [_result(test_data="a" * 64), _result(protocol="paper", test_data="b" * 64)])
    assert len(_measured(rows[:2], tmp_path).results) == 2
    with pytest.raises(ConfigError, match=f"{folder} was measured on other test data .fingerprint bbbb.* than .*one"):
        _measured(rows, tmp_path)


def test_rows_of_several_datasets_have_test_data_of_their_own(tmp_path, row_of, keep):
    other = replace(CONFIG, data=replace(CONFIG.data, split_seed=7))
    rows = [row_of("one"), replace(row_of("two"), change=lambda loaded: other)]
    keep(rows[0], [_result(test_data="a")])
    keep(rows[1], [_result(test_data="b")], other)
    assert set(_measured(rows, tmp_path).results) == {"one", "two"}
