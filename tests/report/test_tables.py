import math

import pytest

from pairstill.report.tables import HEADER, RECALL_TITLES, cells, human_bytes, markdown, summarise


def result(method="ptm_st", num_pairs=99, mean=10.0, **values):
    recalls = {key: mean + offset for offset, key in enumerate(RECALL_TITLES)}
    return {"method": method, "num_pairs": num_pairs, "mean_recall": mean, "bytes": 1000, "seconds": 2.0} | (
        recalls | values
    )


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
