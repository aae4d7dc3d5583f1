"""Rows of the paper scaled down: the same rows, at another size."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from pairstill.cli.command import settings_from
from pairstill.methods import with_method
from pairstill.tools.reproduce.paper import read_tables
from pairstill.tools.reproduce.scales import scaled

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(scope="module")
def settings():
    """Builds the settings of a shipped file."""
    return cache(lambda name: settings_from([f"--config={CONFIGS / name}.yaml"]))


@pytest.fixture(scope="module", params=["flickr8k", "scenes"])
def base(request, settings):
    return settings(f"{request.param}/tables")


def test_the_base_is_the_row_at_500_pairs(settings, base):
    assert scaled(settings("paper/table1/500_ptm_st"), base) == base


def test_one_phase_has_all_pairs_and_steps(settings, base):
    row = scaled(settings("paper/table4/flickr30k_6_st_ema"), base)
    (phase,) = row.distill.phases
    assert phase.num_pairs == base.distill.num_pairs
    assert phase.outer_steps == sum(phase.outer_steps for phase in base.distill.phases)
    assert row.distill.features_first.steps == 2 * base.distill.features_first.steps
    assert (phase.range_start, phase.range_end, phase.endpoint) == (0, 2, 6)


def test_sizes_by_hand(settings):
    base = settings("flickr8k/tables")  # 200 of the paper's 500 pairs
    row = scaled(settings("paper/table19/100x5"), base)
    assert (row.method, row.distill.num_pairs, row.distill.characteristic.clusters) == ("ncfm", 200, 40)
    assert scaled(settings("paper/table1/500_mtt_vl"), base).distill.num_pairs == 200
    random = scaled(settings("paper/table1/500_random"), base)
    assert random.evaluate.references.random_pairs == 200 and random.evaluate.methods == ("random",)
    assert scaled(settings("paper/table8/500_datm"), base).distill.phases[0].range_end == 9


def test_ranges_and_endpoints_are_the_papers(settings, base):
    def epochs(name):
        phases = scaled(settings(f"paper/{name}"), base).distill.phases
        return [(phase.range_start, phase.range_end, phase.endpoint) for phase in phases]

    assert epochs("table13/500_no_range_shift") == [(0, 2, 6), (0, 2, 8)] == epochs("table15/d0")
    assert epochs("table13/500_no_endpoint_shift") == [(0, 2, 6), (1, 3, 6)]
    assert epochs("table14/500_endpoints_8_10") == [(0, 2, 8), (1, 3, 10)]
    assert epochs("table15/d2") == [(0, 2, 6), (2, 4, 8)]


def test_table_4_is_every_combination_of_three_parts(settings):
    names = ["1_base", "2_ema", "3_ptm", "4_st", "5_ptm_ema", "6_st_ema", "7_ptm_st", "8_ptm_st_ema"]
    for dataset in ("flickr30k", "coco"):
        rows = [with_method(settings(f"paper/table4/{dataset}_{name}")).distill for name in names]
        parts = [(row.phased, row.shortcut, row.ema) for row in rows]
        assert parts == [tuple(part in name.split("_") for part in ("ptm", "st", "ema")) for name in names]
        # nothing else differs but that two phases become one
        assert rows[0].phases == rows[1].phases == rows[3].phases == rows[5].phases
        assert rows[2].phases == rows[4].phases == rows[6].phases == rows[7].phases
        same = {"phased": True, "shortcut": True, "ema": True, "phases": rows[7].phases}
        assert {replace(row, **same) for row in rows} == {rows[7]}


def test_every_scaled_row_is_a_run_of_its_own_method(settings, base):
    rows = [row for table in read_tables(CONFIGS / "paper") for row in table.scaled_rows()]
    assert len(rows) == 36
    for row in rows:
        config = scaled(settings(f"paper/{row.settings}".removesuffix(".yaml")), base)
        assert with_method(config) == config  # the method finds its parts set
        assert config.data == base.data and config.teacher == base.teacher and config.student == base.student
