"""Grids as they are typed, and the rows that they make."""

import pytest

from pairstill.cli.command import settings_from
from pairstill.core.errors import ConfigError
from pairstill.tools.sweep.grid import Axis, cells_of, folder_name, read_grid, split_values
from pairstill.tools.sweep.rows import rows_of
from pairstill.tools.sweep.settings import QueueConfig, SweepConfig


def rows(*grid, load=settings_from, **values):
    return rows_of(SweepConfig(grid=grid, **values), load)


def test_values_are_cut_at_commas_outside_quotes_and_brackets():
    assert split_values("x", "0.01,1e-3, null,'a,b'") == ("0.01", "1e-3", "null", "a,b")
    assert split_values("x", "[1, 2],{a: [3, 4]}") == ("[1, 2]", "{a: [3, 4]}")


@pytest.mark.parametrize("text", ["", "a,,b", "[a", "a]", "a],[b", "*x", "x # y", '"a'])
def test_values_that_cannot_be_told_apart_are_refused(text):
    with pytest.raises(ConfigError, match="grid gives x the values"):
        split_values("x", text)


def test_every_combination_is_a_row_with_a_short_name():
    axes = read_grid(["distill.outer.lr_texts=1,2", "--distill.inner-steps=4,8"])
    assert axes[1] == Axis("distill.inner_steps", ("4", "8"), "inner_steps")
    cells = cells_of(axes, "none")
    assert [cell.name for cell in cells] == [
        *("lr_texts=1,inner_steps=4", "lr_texts=1,inner_steps=8"),
        *("lr_texts=2,inner_steps=4", "lr_texts=2,inner_steps=8"),
    ]
    assert cells[1].options == ("--distill.outer.lr_texts=1", "--distill.inner_steps=8")
    assert [axis.short for axis in read_grid(["teacher.epochs=1", "student.epochs=2"])] == [
        *("teacher.epochs", "student.epochs")
    ]
    assert [cell.name for cell in cells_of((), "settings")] == ["settings"]


def test_names_of_folders_stay_apart_and_in_their_place():
    names = [folder_name(text) for text in ("a/b", "a_b", "..", "é", "x" * 300, "x" * 301, "a=1,b=-2")]
    assert len(set(names)) == len(names) and names[-1] == "a=1,b=-2"
    assert all("/" not in name and not name.startswith(".") and len(name) < 120 for name in names)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (["seed=1,2"], "grid names seed, but --seeds says how many"),
        (["run_dir=a"], "grid names run_dir, but --out says where"),
        (["method"], "grid is 'method'; write NAME=VALUE,VALUE"),
        (["method=lors", "method=ptm_st"], "grid names method twice; give all its values in one"),
        (["method=lors,lors"], "the value lors twice"),
    ],
)
def test_grids_that_cannot_be_meant(grid, message):
    with pytest.raises(ConfigError, match=message):
        rows(*grid)


def test_a_wrong_setting_or_value_is_the_same_error_as_of_run(capsys):
    for grid, message in (("distil.inner_steps=1", "did you mean"), ("distill.inner_steps=4,many", "inner_steps: got")):
        with pytest.raises(SystemExit) as caught:
            rows(grid)
        assert caught.value.code == 2 and message in capsys.readouterr().err
    with pytest.raises(ConfigError, match="method lors fixes distill.phased"):
        rows("method=ptm_st,lors", set=("distill.phased=true",))


def test_rows_have_places_and_seeds_of_their_own(tmp_path):
    (tmp_path / "mine.yaml").write_text("seed: 5\nthreads: 3\n")
    found = rows("distill.outer.lr_texts=0.01,2", settings=(str(tmp_path / "mine.yaml"),), seeds=2, out="out")
    assert [(row.seed, row.config.run_dir) for row in found.rows] == [
        *((5, "out/runs/lr_texts=0.01/seed5"), (5, "out/runs/lr_texts=2/seed5")),
        *((6, "out/runs/lr_texts=0.01/seed6"), (6, "out/runs/lr_texts=2/seed6")),
    ]
    assert found.rows[0].config.distill.outer.lr_texts == 0.01 and found.rows[0].task.threads == 3
    (tmp_path / "row.yaml").write_text(found.rows[1].task.settings)
    assert settings_from([f"--config={tmp_path / 'row.yaml'}"]) == found.rows[1].config, "written as it is read"
    assert [cell.name for cell in rows(settings=(str(tmp_path / "mine.yaml"),)).cells] == ["mine"]


def test_rows_that_share_teachers_are_known(tmp_path):
    tasks = [row.task for row in rows("distill.outer.lr_texts=1,2", seeds=2).rows]
    assert tasks[0].teachers == tasks[1].teachers != tasks[2].teachers == tasks[3].teachers
    epochs = [row.task for row in rows("teacher.epochs=9,10").rows]
    assert epochs[0].teachers != epochs[1].teachers


def test_other_teachers_in_one_folder_are_refused_before_anything_begins():
    assert len(rows("distill.outer.lr_texts=1,2", set=("trajectories_dir=shared",)).rows) == 2
    with pytest.raises(ConfigError, match="'shared', but row/seed0 and row/seed1 have other teachers"):
        rows(set=("trajectories_dir=shared",), seeds=2)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (QueueConfig, {"jobs": 0}, "jobs is 0; it must be at least 1"),
        (QueueConfig, {"cpus": 0}, "cpus is 0"),
        (QueueConfig, {"attempts": 0}, "attempts is 0"),
        (QueueConfig, {"gpus": 1}, "take --executor ray"),
        (QueueConfig, {"slurm": {"mem_gb": 4}}, "slurm is given, but the executor is local"),
        (SweepConfig, {"seeds": 0}, "seeds is 0"),
        (SweepConfig, {"out": ""}, "out is empty"),
    ],
)
def test_settings_that_mean_nothing(kind, values, message):
    with pytest.raises(ConfigError, match=message):
        kind(**values)
