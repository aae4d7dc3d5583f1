"""What can be reproduced, as rows with places of their own."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from pairstill.cli.command import settings_from
from pairstill.config import RunConfig
from pairstill.core.errors import ConfigError
from pairstill.methods import find_method, with_method
from pairstill.tools.reproduce.catalog import SCALES
from pairstill.tools.reproduce.paper import find_table, read_tables
from pairstill.tools.reproduce.rows import base_of, chosen, in_order, methods_rows, placed, table_rows
from pairstill.tools.reproduce.settings import Reproduction

CONFIGS = Path(__file__).parents[3] / "configs"
TABLES = read_tables(CONFIGS / "paper")


@pytest.fixture(scope="module")
def load():
    known = cache(lambda *arguments: settings_from(arguments))
    return lambda arguments: known(*arguments)


@pytest.fixture(scope="module")
def rows_of(load):
    def rows(table, scale):
        base = base_of(scale, CONFIGS, load)
        return {row.name: row for row in table_rows(TABLES, find_table(TABLES, table), base, CONFIGS, load)}

    return rows


def test_measured_rows_take_the_sum_of_infonce_and_the_papers_take_its_authors_mean(load, rows_of):
    directions = {name: {row.load(load).info_nce for row in rows_of("table8", name).values()} for name in SCALES}
    assert directions == {"paper": {"mean"}, "flickr8k": {"sum"}, "scenes": {"sum"}}
    assert {row.load(load).info_nce for row in methods_rows(CONFIGS)} == {"sum"}


def test_methods_keep_their_folders_and_teachers(load):
    rows = {row.name: row for row in methods_rows(CONFIGS)}
    assert len(rows) == 2 * 36 + 2 * 6 + 5 + 3 * 5
    settings = Reproduction("flickr8k", data_root="DATA", image_weights="WEIGHTS", out="out")
    row = rows["frozen_200/lors"]
    config = placed(row.load(load), row, 1, settings, Path("out/flickr8k"))
    assert config.run_dir == "out/flickr8k/frozen_200/lors/seed1"
    assert config.trajectories_dir == "out/flickr8k/teachers/frozen_seed1"
    assert (config.method, config.evaluate.methods, config.seed) == ("lors", ("distilled",), 1)
    assert (config.data.root, config.image.weights) == ("DATA", "WEIGHTS")
    assert rows["trainable_100/ptm_st"].teachers == "trainable"
    assert rows["short_500/mct"].teachers == rows["long_200/ptm_st_auto"].teachers == "frozen"
    blended = [row for name, row in rows.items() if name.endswith(("/repblend", "/ptm_st_blend"))]
    assert [row.teachers for row in blended] == ["residual"] * 2
    assert all(row.load(load).heads.kind == "residual" for row in blended), "linear heads of a blend are a blend"
    assert rows["frozen_100/apm"].load(load).evaluate.methods == ("distilled", "closed_form")
    references = rows["frozen_100/references"]
    assert not references.makes_pairs and references.load(load).evaluate.methods == ("random", "full")


def test_rows_of_one_table_have_the_same_length_and_names_that_say_what_they_are(load):
    rows = {row.name: with_method(row.load(load)) for row in methods_rows(CONFIGS) if row.settings.stem == "long_200"}
    titles = {name.removeprefix("long_200/"): find_method(c.method).title_of(c) for name, c in rows.items()}
    assert titles["ptm_st_auto"] == "PTM-ST, auto phases" and titles["ptm_st"] == "PTM-ST, features first"
    assert titles["lors"] == "LoRS + symmetric heads, features first" and titles["mtt_vl"] == "MTT-VL, features first"
    learned = {"mtt_vl", "lors", "datm", "mct", "ptm_st", "ptm_st_auto"}
    steps = {
        name: len(c.distill.phases) * c.distill.features_first.steps
        for name, c in ((name, rows[f"long_200/{name}"]) for name in learned)
    }
    assert steps == dict.fromkeys(learned, 1600), "those of phases that set themselves are what they are shared out of"
    assert all(c.evaluate.protocol == "both" and c.evaluate.scale_learned for c in rows.values())


def test_the_papers_regime_has_its_methods_at_every_size(load):
    rows = [row for row in methods_rows(CONFIGS) if row.settings.stem.startswith("trainable")]
    methods = ("references", "mtt_vl", "lors", "ptm_st", "ptm_st_auto")
    assert [row.name for row in rows] == [f"trainable_{size}/{name}" for size in (100, 200, 500) for name in methods]
    configs = [with_method(row.load(load)) for row in rows]
    assert all(c.image.trainable and c.image.size == 96 and c.evaluate.protocol == "both" for c in configs)
    assert {c.evaluate.rate_scales for c in configs} == {(0.1, 0.3, 1.0, 3.0)} and configs[1].evaluate.scale_learned
    assert not any(c.distill.features_first.steps for c in configs), "a trained tower has no features to start from"


def test_rows_have_distillation_seeds_of_their_own(load):
    rows = {row.name: row for row in methods_rows(CONFIGS)}
    seeds = {name: rows[f"{name}/lors"].seeds for name in ("long_500", "trainable_100", "trainable_200", "short_200")}
    assert seeds == {"long_500": 3, "trainable_100": 2, "trainable_200": 1, "short_200": 1}
    few = [rows["trainable_100/lors"], rows["trainable_200/lors"]]
    assert [(row.name[:13], seed) for row, seed in in_order(few, None)] == [
        *(("trainable_100", 0), ("trainable_200", 0)),
        ("trainable_100", 1),
    ]
    assert [seed for _, seed in in_order(few, 2)] == [0, 0, 1, 1] and in_order([], None) == []


def test_rows_of_a_size_hold_equal_bytes(load):
    """Similarities are worth a pair, which rows without them have in their stead."""
    rows = {row.name: row for row in methods_rows(CONFIGS)}
    for settings, distilled in (("frozen_100", 99), ("frozen_200", 199), ("frozen_500", 499)):
        for method, pairs in (("lors", distilled), ("ptm_st", distilled), ("mtt_vl", distilled + 1)):
            assert with_method(rows[f"{settings}/{method}"].load(load)).distill.num_pairs == pairs
    for method in ("herding", "k_center", "forgetting", "ncfm", "apm"):
        assert with_method(rows[f"frozen_100/{method}"].load(load)).distill.num_pairs == 100
    apm = with_method(rows["frozen_200/apm"].load(load)).distill
    assert (apm.num_pairs, apm.features_first.steps, apm.phases[0].outer_steps) == (200, 400, 8)
    (phase,) = with_method(rows["short_500/apm"].load(load)).distill.phases
    assert (phase.num_pairs, phase.outer_steps) == (500, 16)


@pytest.mark.parametrize(
    ("row", "pairs"),
    [
        *(
            (f"table19/{clusters}x{each}", clusters * each)
            for clusters, each in ((100, 1), (100, 5), (200, 2), (500, 1))
        ),
        *((f"table1/200_{method}", 200) for method in ("random", "herding", "mtt_vl")),
        ("table2/500_forgetting", 500),
        ("table8/100_mtt_vl", 100),
        ("table1/200_lors", 199),
    ],
)
def test_rows_of_the_paper_have_the_pairs_that_they_name(load, row, pairs):
    config = with_method(load([f"--config={CONFIGS / 'paper' / row}.yaml"]))
    assert config.distill.num_pairs == pairs
    if row.startswith("table19"):
        assert config.distill.characteristic.clusters == int(row.removeprefix("table19/").split("x")[0])


def test_rows_of_one_run_share_a_folder(rows_of):
    four, fifteen, eight = (rows_of(table, "scenes") for table in ("table4", "table15", "table8"))
    assert four["flickr30k_8_ptm_st_ema"].folder == fifteen["d1"].folder == eight["500_ptm_st"].folder
    assert four["flickr30k_1_base"].folder == fifteen["lors"].folder  # both have the full similarities here
    assert len({row.folder for row in four.values()}) == 8
    assert {row.teachers for row in four.values()} == {"scenes"}
    assert rows_of("table4", "flickr8k")["flickr30k_4_st"].teachers == "frozen"  # as the methods' rows have


def test_rows_at_the_papers_scale_are_its_own(rows_of, load):
    rows = rows_of("table4", "paper")
    assert len(rows) == 16
    row = rows["coco_4_st"]
    settings = Reproduction("table4", data_root="DATA", scale="paper", out="out")
    config = placed(row.load(load), row, 0, settings, Path("out/paper"))
    assert (config.data.root, config.run_dir) == ("DATA/coco", "out/paper/tables/table4/coco_4_st/seed0")
    assert config.trajectories_dir == "out/paper/teachers/coco_seed0"
    unplaced = load([f"--config={CONFIGS}/paper/table4/coco_4_st.yaml"])
    assert config.distill == unplaced.distill and config.image == unplaced.image


def test_tables_without_a_small_version_say_why(rows_of):
    with pytest.raises(ConfigError, match="table2 cannot be scaled down: the rows of Table 1"):
        rows_of("table2", "scenes")
    with pytest.raises(ConfigError, match="table17 is measured by another command: `pairstill evaluate"):
        rows_of("table17", "paper")


def test_rows_are_chosen_by_name(rows_of):
    rows = list(rows_of("table15", "scenes").values())
    assert [row.name for row in chosen(rows, ("lors", "d0"))] == ["lors", "d0"] and chosen(rows, None) == rows
    methods = methods_rows(CONFIGS)
    of_one = [row for row in methods if row.settings.stem == "short_200"]
    assert chosen(methods, ("short_200",)) == of_one and len(of_one) > 1
    lors = next(row for row in of_one if row.name == "short_200/lors")
    assert chosen(methods, ("short_200/lors", "short_200"))[:2] == [lors, of_one[0]], "each once"
    with pytest.raises(ConfigError, match="only names 'd3'; the rows are d0, d1, d2, lors"):
        chosen(rows, ("d3",))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"benchmark": "table4"}, "table4 needs a scale: --scale scenes"),
        ({"benchmark": "tabel4"}, "'tabel4' cannot be reproduced; did you mean table4"),
        ({"benchmark": "table4", "scale": "flickr8k"}, "needs the folder of the dataset"),
        ({"benchmark": "table4", "scale": "flickr8k", "data_root": "DATA"}, "needs the image tower's weights"),
        ({"benchmark": "table4", "scale": "scenes", "data_root": "DATA"}, "scale scenes takes none; leave it out"),
        ({"benchmark": "flickr8k", "scale": "scenes"}, "flickr8k is not a table"),
        ({"benchmark": "flickr8k", "data_root": "DATA"}, "needs the image tower's weights"),
        ({"benchmark": "table4", "scale": "scenes", "seeds": 0}, "seeds is 0"),
    ],
)
def test_settings_that_do_not_go_together(values, message):
    with pytest.raises(ConfigError, match=message):
        Reproduction(**values)


def test_settings_that_the_machine_decides_leave_the_row_alone():
    row = methods_rows(CONFIGS)[0]
    config = RunConfig()
    settings = Reproduction("table4", scale="scenes", device="cpu", threads=1)
    moved = placed(config, row, 0, settings, Path("out"))
    kept = {"run_dir": config.run_dir, "trajectories_dir": None, "device": "auto", "threads": None}
    assert replace(moved, **kept) == config


@pytest.mark.parametrize(
    ("row", "rate"),
    [
        *((row, 1000.0) for row in ("table2/500_lors", "table8/500_datm", "table2/200_lors", "table6/coco_lors")),
        *((f"table7/coco_{last}", 1000.0) for last in ("02", "04", "06", "08", "10")),
        *((row, 5000.0) for row in ("table2/500_ptm_st", "table2/500_mtt_vl", "table4/coco_1_base")),
    ],
)
def test_texts_of_lors_on_coco_have_the_rate_of_table_9_and_the_others_that_of_table_12(load, row, rate):
    config = load([f"--config={CONFIGS / 'paper' / row}.yaml"])
    assert config.distill.outer.lr_texts == rate
    assert (config.distill.outer.lr_images, config.distill.outer.lr_similarity) == (1000.0, 50.0)
