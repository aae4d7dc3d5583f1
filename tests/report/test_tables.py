import math

import pytest

from pairstill.evaluate.results import summarise
from pairstill.evaluate.spread import Spread
from pairstill.report.tables import (
    HEADER,
    RECALL_TITLES,
    SPREAD_HEADER,
    TEST_HEADER,
    cells,
    header,
    human_bytes,
    markdown,
    markdown_table,
    spread_cells,
)


def result(method="ptm_st", num_pairs=99, mean=10.0, **values):
    recalls = {key: mean + offset for offset, key in enumerate(RECALL_TITLES)}
    rest = {"protocol": "strict", "seeds": {"run": 0, "student": 0}, "bytes": 1000, "seconds": 2.0}
    return {"method": method, "num_pairs": num_pairs, "mean_recall": mean, **rest, **recalls, **values}


def seeded(student=0, teachers=0, distillation=0, run=0):
    return {"run": run, "teachers": teachers, "distillation": distillation, "student": student}


def test_students_of_a_method_and_size_make_one_row():
    results = [
        result("random", 99),
        result("ptm_st", 99),
        result("random", 500),
        result("random", 99),
        result("ptm_st", 99),
        result("ptm_st", 99),
    ]
    rows = summarise(results)
    assert [(row.title, row.num_pairs, row.students) for row in rows] == [
        ("Random", 99, 2),
        ("PTM-ST", 99, 3),
        ("Random", 500, 1),
    ]


def test_a_title_of_its_own_wins_over_the_methods():
    rows = summarise([result("lors", title="LoRS + symmetric heads"), result("mtt_vl")])
    assert [row.title for row in rows] == ["LoRS + symmetric heads", "MTT-VL"]


def test_mean_and_spread_by_hand():
    # deviations from 5 are -3, 0, 3; their squares add up to 18; the sample variance is 18 / 2 = 9
    (row,) = summarise([result(mean=value) for value in (2.0, 5.0, 8.0)])
    assert row.mean == 5 and row.spread == pytest.approx(3)
    assert row.recalls == {key: pytest.approx(5 + offset) for offset, key in enumerate(RECALL_TITLES)}
    (row,) = summarise([result(mean=4.0), result(mean=6.0)])
    assert row.spread == pytest.approx(math.sqrt(2))


def test_a_single_student_has_no_spread():
    (row,) = summarise([result()])
    assert row.spread is None and row.students == 1
    assert cells(row)[HEADER.index("mean")] == "10.0"


def test_seconds_are_averaged_and_bytes_are_those_of_one_student():
    (row,) = summarise([result(seconds=2.0, bytes=7), result(seconds=5.0, bytes=7)])
    assert (row.seconds, row.bytes) == (3.5, 7)


def test_the_share_is_of_the_mean_over_full_data_students():
    results = [result("random", mean=10.0), result("full", 1000, mean=30.0), result("full", 1000, mean=50.0)]
    rows = {row.title: row.share for row in summarise(results)}
    assert rows == {"Random": pytest.approx(25), "Full data": pytest.approx(100)}


@pytest.mark.parametrize("full", [[], [result("full", 1000, mean=0.0)]], ids=["absent", "recalls nothing"])
def test_without_full_data_to_compare_with_there_is_no_share(full):
    rows = summarise([result(), *full])
    assert [row.share for row in rows] == [None] * len(rows)
    assert cells(rows[0])[HEADER.index("of full")] == ""


def test_full_data_comes_last_and_the_others_keep_their_order():
    order = ["ptm_st", "full", "random", "herding"]
    assert [row.title for row in summarise(map(result, order))] == ["PTM-ST", "Random", "Herding", "Full data"]


def test_paper_stands_below_strict_with_its_optimism():
    results = [
        *(result("ptm_st", mean=mean, protocol="paper", seeds=seeded(n)) for n, mean in enumerate((12.0, 15.0, 40.0))),
        *(result("ptm_st", mean=mean, seeds=seeded(n)) for n, mean in enumerate((10.0, 14.0))),
        result("full", 1000, mean=20.0),
        result("full", 1000, mean=80.0, protocol="paper", seeds=seeded(9)),
    ]
    rows = summarise(results)
    assert [(row.title, row.protocol, row.students) for row in rows] == [
        *(("PTM-ST", "strict", 2), ("PTM-ST", "paper", 3)),
        *(("Full data", "strict", 1), ("Full data", "paper", 1)),
    ]
    # the third student was reported one way only, and so were those of full data
    assert [row.optimism for row in rows] == [None, pytest.approx(1.5), None, None]
    # each is a share of full data by the same protocol
    assert [row.share for row in rows] == pytest.approx([60, 100 * (67 / 3) / 80, 100, 100])
    assert header(rows[:1]) == HEADER
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown(rows).splitlines()]
    shown = [dict(zip(table[0], line, strict=True)) for line in table[2:]]
    assert [line["protocol"] for line in shown] == ["strict", "paper"] * 2
    assert [line["optimism"] for line in shown] == ["", "+1.5", "", ""]
    assert set(header(rows)) - set(HEADER) == {"protocol", "optimism", *TEST_HEADER}


def test_what_was_chosen_on_the_test_split_stands_beside_the_mean():
    def paper(method, **facts):
        return {**result(method, 10, mean=20.0, protocol="paper", seeds=seeded(0)), **facts}

    rates, reads = {"lr_image": 0.1, "lr_text": 0.1}, {"test_reads": 151, "rates_tried": 3}
    results = [
        paper("ptm_st", epoch=4, settings={}, test_reads=51, rates_tried=1),
        paper("lors", epoch=4, settings={}),
        paper("random", epoch=4, settings=rates, **reads),
        paper("full", epoch=4, settings=rates),
        paper("apm_closed_form", epoch=0, settings={"ridge": 1.0}, test_reads=2, rates_tried=1),
        paper("herding", epoch=4, settings=rates, test_reads=51, rates_tried=1),
        paper("k_center", epoch=4, settings=rates, **reads, rates={"image": 3.0, "text": 1.0, "trials": []}),
        {**result("mct", 10, mean=20.0, seeds=seeded(0)), "epoch": 4, "settings": {}, "test_reads": 1},
    ]
    rows = summarise(results)
    columns = header(rows)
    shown = {row.title: dict(zip(columns, cells(row, columns), strict=True)) for row in rows}
    assert {title: tuple(line[name] for name in TEST_HEADER) for title, line in shown.items()} == {
        "PTM-ST": ("epoch", "51"),
        "LoRS": ("epoch", "not counted"),  # of old
        "Random": ("epoch and rates", "151"),
        "APM, closed form": ("nothing", "2"),
        "Herding": ("epoch", "51"),  # one rate is no choice
        "K-Center": ("epoch", "151"),  # whose rates validation chose
        "MCT": ("nothing", "1"),
        "Full data": ("epoch and rates", "not counted"),
    }
    only_paper = header([row for row in rows if row.protocol == "paper"])
    assert set(only_paper) - set(HEADER) == set(TEST_HEADER)
    assert set(header([row for row in rows if row.protocol == "strict"])) == set(HEADER)


def test_the_spread_is_told_by_where_it_comes_from():
    # sets 10 and 14 by one pair of teachers, of two students each, and one set by others
    values = {(0, 0): (9, 11), (0, 1): (13, 15), (7, 0): (20,)}
    (row,) = summarise(
        result(mean=float(mean), seeds=seeded(student, *seeds))
        for seeds, means in values.items()
        for student, mean in enumerate(means)
    )
    assert row.spreads == Spread(pytest.approx(2**0.5), pytest.approx(8**0.5), pytest.approx(32**0.5))
    assert dict(zip(SPREAD_HEADER, spread_cells(row), strict=True)) == {
        "method": "PTM-ST",
        "pairs": "99",
        "protocol": "strict",
        "over students": "± 1.4",
        "over distillations": "± 2.8",
        "over teachers": "± 5.7",
    }
    assert spread_cells(summarise([result()])[0])[3:] == ["not measured"] * 3


def test_results_of_old_runs_have_all_seeds_from_the_run():
    old = [{"mean": float(mean), "seeds": {"run": run, "student": 0}} for run, mean in ((0, 1), (1, 3))]
    (row,) = summarise(result(**values) for values in old)
    assert row.spreads == Spread(None, None, pytest.approx(2**0.5))
    (row,) = summarise(result("random", **values) for values in old)
    assert row.spreads == Spread(pytest.approx(2**0.5), None, None), "nothing is taught or distilled for it"


def test_no_results_make_no_rows():
    assert summarise([]) == []
    assert len(markdown([]).splitlines()) == 2


def test_the_cells_of_a_row():
    rows = summarise([result("ptm_st", 1500, mean=value, bytes=2_500_000) for value in (2.0, 5.0, 8.0)])
    (row,) = rows
    assert dict(zip(HEADER, cells(row), strict=True)) == {
        "method": "PTM-ST",
        "pairs": "1,500",
        "IR@1": "5.0",
        "IR@5": "6.0",
        "IR@10": "7.0",
        "TR@1": "8.0",
        "TR@5": "9.0",
        "TR@10": "10.0",
        "mean": "5.0 ± 3.0",
        "of full": "",
        "size": "2.5 MB",
        "on disk": "",
        "time": "2 s",
        "students": "3",
    }


def test_markdown_has_a_head_a_rule_and_a_line_for_each_row():
    text = markdown(summarise([result("random", mean=10.0), result("full", 7500, mean=40.0)]))
    assert text.endswith("|\n")
    lines = text.splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len(lines) == 4 and {len(row) for row in table} == {len(HEADER)}
    assert table[0] == HEADER
    assert table[1] == ["---"] + ["---:"] * (len(HEADER) - 1)  # names to the left, numbers to the right
    assert [row[0] for row in table[2:]] == ["Random", "Full data"]
    assert [row[HEADER.index("of full")] for row in table[2:]] == ["25 %", "100 %"]


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1234, "1.2 kB"),
        (2_500_000, "2.5 MB"),
        (3_000_000_000, "3.0 GB"),
        (4_200_000_000_000, "4.2 TB"),
        (5_000_000_000_000_000, "5000.0 TB"),
    ],
)
def test_bytes_for_people(count, shown):
    assert human_bytes(count) == shown


def test_nothing_in_a_cell_ends_the_cell_or_the_line():
    found = markdown_table(["what | it", "n"], [["a | b\nc\x1b[0m", "1"]])
    assert found == "| what \\| it | n |\n| --- | ---: |\n| a \\| b c␛[0m | 1 |\n"
