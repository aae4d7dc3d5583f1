"""The table: what counts, its means over seeds, and what is said of rows without numbers."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from pairstill.cli.command import settings_from
from pairstill.evaluate.measurement import measured_as
from pairstill.evaluate.results import RECALL_KEYS
from pairstill.methods import with_method
from pairstill.run.folder import plain
from pairstill.tools.sweep.rows import rows_of, teachers_key
from pairstill.tools.sweep.settings import SweepConfig
from pairstill.tools.sweep.state import RowState
from pairstill.tools.sweep.table import write_tables


@pytest.fixture
def rows(tmp_path):
    return rows_of(SweepConfig(grid=("distill.outer.lr_texts=1,2",), seeds=2, out=str(tmp_path)), settings_from)


def keep(row, means, test_data="a", **settings):
    """Write a measured run of a row, with a student for each of these mean recalls."""
    folder, config = Path(row.config.run_dir), with_method(row.config)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({**plain(config), **settings}))
    about = {"method": "ptm_st", "protocol": "strict", "num_pairs": 99, "bytes": 1, "seconds": 1.0}
    about |= {"measured_as": measured_as(config, "ptm_st", "strict"), "test_data": test_data}
    lines = [
        {**about, "seeds": {"run": row.seed, "student": n}, "mean_recall": m, **dict.fromkeys(RECALL_KEYS, m)}
        for n, m in enumerate(means)
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def written(rows, tmp_path, **failed):
    states = {row: RowState("done") for row in rows.rows}
    page = write_tables(rows, states | failed.pop("states", {}), tmp_path)
    assert (tmp_path / "table.md").read_text() == page
    return page, list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))


def test_the_mean_is_over_seeds_and_both_spreads_stand_beside_it(rows, tmp_path):
    keep(rows.rows[0], [10.0, 20.0])  # lr_texts=1, seed 0
    keep(rows.rows[2], [30.0, 40.0])  # lr_texts=1, seed 1
    page, (one, two) = written(rows, tmp_path)
    assert (one["row"], one["lr_texts"], one["seeds"], one["students"]) == ("lr_texts=1", "1", "2", "4")
    assert float(one["mean"]) == 25.0 and float(one["std over seeds"]) == pytest.approx(200**0.5, abs=1e-4)
    assert float(one["std over students"]) == pytest.approx(50**0.5, abs=1e-4)
    assert two["mean"] == two["method"] == "" and two["seeds"] == "0"
    assert "| 1 | PTM-ST | 99 |" in page and "| 25.0 | ± 14.1 | ± 7.1 | 1 B |  | 2 of 2 |" in page and "0 of 2" in page
    lines = [json.loads(line) for line in (tmp_path / "table.jsonl").read_text().splitlines()]
    assert [(line["row"], line["mean_recall"]) for line in lines] == [
        ("lr_texts=1", mean) for mean in (10.0, 20.0, 30.0, 40.0)
    ]


def test_a_seed_with_fewer_students_weighs_as_much_as_the_others(rows, tmp_path):
    keep(rows.rows[0], [10.0])
    keep(rows.rows[2], [30.0, 50.0])
    assert written(rows, tmp_path)[1][0]["mean"] == "25"


def test_every_tower_has_rows_of_its_own(rows, tmp_path):
    keep(rows.rows[0], [10.0, 20.0])
    path = Path(rows.rows[0].config.run_dir) / "results.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**line, "tower": f"b ({n})"}) + "\n" for n, line in enumerate(lines, 1)))
    found = [(row["method"], row["mean"]) for row in written(rows, tmp_path)[1]]
    assert found == [("PTM-ST, b (1)", "10"), ("PTM-ST, b (2)", "20"), ("", "")]


def test_further_towers_are_part_of_what_teachers_depend_on():
    options = ["--image.trainable", "false", "--heads", "{image: true, width: 8}"]
    found = [settings_from([*options, "--towers", towers]) for towers in ("[]", "[{name: a}]", "[{name: b}]")]
    assert len({teachers_key(config) for config in found}) == 3


def test_runs_with_other_settings_do_not_count(rows, tmp_path):
    keep(rows.rows[0], [10.0], info_nce="sum")
    page, (one, _) = written(rows, tmp_path)
    assert one["mean"] == "" and "lr_texts=1/seed0: " in page and "info_nce: 'sum' before, 'mean' now" in page


def test_failures_and_other_test_sets_are_told(rows, tmp_path):
    keep(rows.rows[0], [10.0])
    keep(rows.rows[1], [10.0], test_data="b")
    failed = RowState("failed", error=("it ended with the exit status 1", "pairstill: error: no memory"))
    page, _ = written(rows, tmp_path, states={rows.rows[3]: failed})
    assert page.startswith("3 of 4 runs are done.") and "2 different test sets" in page
    assert "- lr_texts=2/seed1: it ended with the exit status 1; pairstill: error: no memory" in page
