"""A table of the paper, scaled down to almost nothing, through the command line."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pairstill.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = yaml.safe_load((Path(__file__).parent / "tiny.yaml").read_text())
# the row PTM-ST at the paper's 500 pairs, as a base has it
BASE: dict[str, Any] = {
    "trajectories_dir": "runs/teachers/tiny",
    **{part: TINY[part] for part in ("data", "image", "text")},
    "teacher": {"num_experts": 1, "epochs": 10, "batch_size": 12, "keep": "all"},
    "distill": {
        "phases": [
            {"num_pairs": 4, "outer_steps": 1, "range_start": 0, "range_end": 2, "endpoint": 6},
            {"num_pairs": 5, "outer_steps": 1, "range_start": 1, "range_end": 3, "endpoint": 8},
        ],
        "inner_steps": 1,
        "batch_size": 4,
    },
    "student": {"epochs": 1},
    "evaluate": {"num_students": 2, "methods": ["distilled"]},
}
FROZEN = {"image": {"size": 16, "trainable": False}, "heads": {"image": True, "width": 8}}


@pytest.fixture
def reproduce(tmp_path):
    """Reproduce a table on tiny scenes and return the folder of tables."""
    for folder in ("paper", "presets"):
        shutil.copytree(CONFIGS / folder, tmp_path / "configs" / folder)
    (tmp_path / "configs" / "scenes").mkdir()
    places = [f"--out={tmp_path / 'out'}", f"--configs={tmp_path / 'configs'}", f"--cache_dir={tmp_path / 'cache'}"]

    def run(table: str, *rows: str, base: dict[str, Any] = BASE, queue: tuple[str, ...] = (), status: int = 0) -> Path:
        (tmp_path / "configs" / "scenes" / "tables.yaml").write_text(yaml.safe_dump(base))
        command = ["reproduce", table, "--scale=scenes", "--threads=1", "--device=cpu", *places]
        assert main([*command, f"--only={json.dumps(rows)}", *queue]) == status
        return tmp_path / "out" / "scenes" / "tables"

    return run


def test_a_table_is_measured_row_by_row_and_goes_on(reproduce, tmp_path, capsys):
    folder = reproduce("table15", "lors", "d1")
    page = capsys.readouterr().out
    assert page.startswith("# Table 15 of the paper, scaled down to scenes") and "another dataset" in page
    assert (folder / "table15.md").read_text() == page.removesuffix("\n")
    rows = {row["row"]: row for row in csv.DictReader((folder / "table15.csv").read_text().splitlines())}
    assert list(rows) == ["d0", "d1", "d2", "lors"] and rows["d2"]["mean"] == ""
    assert rows["lors"]["pairs"] == rows["d1"]["pairs"] == "9" and rows["d1"]["students"] == "2"
    assert float(rows["d1"]["paper over reference"]) == pytest.approx(41.4 - 32.3)
    ahead = float(rows["d1"]["mean"]) - float(rows["lors"]["mean"])
    assert float(rows["d1"]["over reference"]) == pytest.approx(ahead, abs=0.01)
    assert r"\toprule" in (folder / "table15.tex").read_text()
    before = {path: path.read_bytes() for path in folder.glob("table15.*")}
    assert reproduce("table15", "lors", "d1") == folder
    assert {path: path.read_bytes() for path in folder.glob("table15.*")} == before
    # the same run is a row of another table
    reproduce("table13", "500_full")
    assert "1 of 3 rows are measured" in capsys.readouterr().out
    assert len(list(folder.glob("table*/*/seed0"))) == 2
    # not the checkout's settings, beside which its own results lie
    places = [f"--out={tmp_path / 'out'}", f"--configs={tmp_path / 'configs'}"]
    assert main(["reproduce", "--list", "--json", *places]) == 0
    ours = {(row["table"], row["row"]): row["ours"] for row in json.loads(capsys.readouterr().out)}
    assert (
        ours["table15", "d1"]
        == ours["table13", "500_full"]
        == {"scenes": pytest.approx(float(rows["d1"]["mean"]), abs=0.01)}
    )
    assert "scenes" not in ours["table15", "d2"]


def test_two_rows_at_a_time_make_the_same_table(reproduce, tmp_path, capsys):
    folder = reproduce("table15", "lors", "d1", queue=("--jobs=2",))
    page, files = capsys.readouterr().out, {path.name: path.read_bytes() for path in folder.glob("table15.*[!l]")}
    logs = list((tmp_path / "out" / "scenes" / "queue").glob("tables/*/*/seed0/log.txt"))
    assert len(logs) == 2 and "2 of 4 rows are measured" in page
    assert "Stage 1" not in capsys.readouterr().err
    reproduce("table15", "lors", "d1")
    again = capsys.readouterr()
    assert again.out == page and files == {path.name: path.read_bytes() for path in folder.glob("table15.*[!l]")}
    reproduce("table15", "lors", "d1", base={**BASE, "info_nce": "sum"}, queue=("--jobs=2",), status=2)
    error = capsys.readouterr().err
    assert "seed0 was run with other settings; give another --out, or delete" in error and "Begun" not in error


@pytest.mark.parametrize(
    ("table", "steps"),
    [  # on pixels; twice as many before them on features; two phases' steps in one
        ("table4", {"flickr30k_1_base": 2, "flickr30k_2_ema": 2}),
        ("table8", {"500_datm": 2}),
        ("table1", {"500_mtt_vl": 2, "500_random": 0}),
        ("table19", {"200x1": 1}),
    ],
)
def test_features_first_goes_with_the_other_rows(reproduce, table, steps):
    first = {**BASE["distill"], "features_first": {"steps": 2, "inversion_steps": 2}}
    folder = reproduce(table, *steps, base={**BASE, **FROZEN, "distill": first})
    results = [json.loads(line) for line in (folder / f"{table}.jsonl").read_text().splitlines()]
    assert len(results) == 2 * len(steps)
    for result in results:
        log = Path(result["config"]).with_name("metrics.jsonl").read_text()
        stages = [event["stage"] for event in map(json.loads, log.splitlines()) if event["event"] == "distill_step"]
        pixels = steps[result["row"]]
        assert stages == ["features"] * (2 * pixels) + ["pixels"] * pixels


def test_the_list_shows_every_row(capsys):
    assert main(["reproduce", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 159
    by_name = {(row["table"], row["row"]): row for row in listed}
    row = by_name["table4", "coco_4_st"]
    assert row["config"] == "paper/table4/coco_4_st.yaml" and row["scales"] == ["paper"]
    assert row["paper"] == [4.9, 15.9, 24.7, 4.8, 15.1, 23.8] and row["paper_mean"] == 14.87
    assert row["needs"][0] == "data/coco/dataset_coco.json" and "hub: nfnet_l0" in row["needs"]
    assert by_name["table4", "flickr30k_4_st"]["scales"] == ["paper", "flickr8k", "scenes"]
    assert by_name["table1", "500_edge"]["without"] and not by_name["table1", "500_edge"]["scales"]
    assert by_name["table17", "lors_regnet_bert"]["command"].startswith("`pairstill evaluate")
    assert main(["reproduce", "--list"]) == 0
    shown = capsys.readouterr().out
    assert "pairstill reproduce table4 --scale scenes" in shown and "No small version" in shown


def test_listed_settings_can_be_typed_where_they_are(capsys, monkeypatch, tmp_path):
    for place, written in ((CONFIGS.parent, " configs/paper/table4/"), (tmp_path, f"are below {CONFIGS}")):
        monkeypatch.chdir(place)
        assert main(["reproduce", "table4", "--list"]) == 0
        shown = capsys.readouterr().out
        assert written in shown and (("are below" in shown) == (place == tmp_path))


def test_the_list_is_of_one_table_when_one_is_named(capsys):
    assert main(["reproduce", "table4", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 16 and {(row["table"], row["ours_protocol"]) for row in listed} == {("table4", "strict")}
    assert main(["reproduce", "table4", "--list"]) == 0
    shown = capsys.readouterr().out
    assert "Table 4:" in shown and "Table 1:" not in shown and "strict" in shown
    for name, message in (("table9", "'table9' cannot be reproduced"), ("flickr8k", "no table of the paper")):
        assert main(["reproduce", name, "--list"]) == 2
        assert message in capsys.readouterr().err


def test_help_names_the_tables_of_results(capsys):
    with pytest.raises(SystemExit):
        main(["reproduce", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "table1 to table8 or table13 to table19" in shown


def test_what_to_reproduce_must_be_named(capsys):
    assert main(["reproduce"]) == 2
    assert "--list shows the tables" in capsys.readouterr().err
    assert main(["reproduce", "table4"]) == 2
    assert "table4 needs a scale" in capsys.readouterr().err
    assert main(["reproduce", "table99", "--scale", "scenes"]) == 2
    assert "'table99' cannot be reproduced" in capsys.readouterr().err
