"""The paper's rows beside what was measured."""

import csv
import io

import pytest

from pairstill.report.grids import grid_csv
from pairstill.report.tables import RECALL_TITLES
from pairstill.tools.reproduce.columns import as_data, shown
from pairstill.tools.reproduce.comparison import compare, places, rank_agreement, rows_by_protocol
from pairstill.tools.reproduce.paper import PaperRow


def paper(name, mean):
    return PaperRow(
        table="table4",
        group="Flickr30k",
        name=name,
        title=name.upper(),
        values=(mean,) * 6,
        spread=None,
        printed_mean=None,
        settings=f"table4/{name}.yaml",
        without=None,
    )


def result(mean, protocol="strict", **values):
    about = {"method": "ptm_st", "num_pairs": 39, "protocol": protocol, "bytes": 1, "seconds": 1.0}
    about["seeds"] = {"run": 0, "student": 0}
    return {**about, "mean_recall": mean, **dict.fromkeys(RECALL_TITLES, mean), **values}


PAPER = [paper("base", 30.0), paper("st", 34.0), paper("ema", 31.0), paper("both", 36.0)]
RESULTS = {
    "base": [result(9.0), result(11.0)],
    "st": [result(14.0), result(99.0, protocol="paper")],
    "ema": [result(12.0)],
}


def test_lines_by_hand():
    base, st, ema, both = compare(PAPER, RESULTS, "base")
    assert base.ours.mean == 10 and base.ours.spread == pytest.approx(2**0.5) and base.ours.students == 2
    assert (st.over, st.paper_over, st.rank, st.paper_rank) == (4, 4, 1, 1)  # the best epoch on test does not count
    assert (ema.over, ema.paper_over, ema.rank, ema.paper_rank) == (2, 1, 2, 2)
    (other,) = [line for line in compare(PAPER, RESULTS, None, "paper") if line.ours]
    assert other.row.name == "st" and other.ours.mean == 99
    assert (base.over, base.rank) == (0, 3)
    assert both.ours is None and both.over is None and both.rank is None


def test_without_the_reference_nothing_is_compared_with_it():
    lines = compare(PAPER, {"st": RESULTS["st"]}, "base")
    assert [line.over for line in lines] == [None] * 4
    assert "over BASE" in shown(lines, "BASE").header and "in the paper" not in shown(lines, None).header


def test_places():
    assert places({"a": 1.0, "b": 3.0, "c": 2.0}) == {"a": 3, "b": 1, "c": 2}
    assert places({"a": 2.0, "b": 2.0, "c": 2.0}) == dict.fromkeys("abc", 2.0)
    assert places({}) == {}


def test_agreement_of_ranks():
    assert rank_agreement(compare(PAPER, RESULTS, "base")) == pytest.approx(1)
    turned = {"base": [result(3.0)], "st": [result(1.0)], "ema": [result(2.0)]}
    assert rank_agreement(compare(PAPER, turned, "base")) == pytest.approx(-1)
    # ranks 1 2 3 against 1 3 2: 1 - 6 * 2 / (3 * 8)
    crossed = {"base": [result(2.0)], "st": [result(3.0)], "ema": [result(1.0)]}
    assert rank_agreement(compare(PAPER, crossed, "base")) == pytest.approx(0.5)
    assert rank_agreement(compare(PAPER, {"st": RESULTS["st"]}, "base")) is None


def test_shown_and_data_agree():
    lines = compare(PAPER, RESULTS, "base")
    grid = shown(lines, "BASE")
    by_title = {row[0]: dict(zip(grid.header, row, strict=True)) for row in grid.rows}
    assert by_title["BASE"]["mean"] == "10.0 ± 1.4" and by_title["BASE"]["difference"] == "-20.0"
    assert by_title["ST"]["over BASE"] == "+4.0" and by_title["BOTH"]["mean"] == ""
    data = {row["row"]: row for row in csv.DictReader(io.StringIO(grid_csv(as_data(lines))))}
    assert (data["base"]["mean"], data["base"]["std"], data["base"]["paper mean"]) == ("10", "1.4142", "30")
    assert (data["both"]["mean"], data["both"]["paper mean"], data["st"]["rank"]) == ("", "36", "1")


def cells(lines):
    grid = shown(lines, "BASE")
    return {row[0]: dict(zip(grid.header, row, strict=True)) for row in grid.rows}


def test_both_protocols_stand_beside_each_other():
    of_two = [result(10.0), result(12.0, seeds={"run": 0, "student": 1})]
    on_test = [result(11.0, "paper"), result(14.0, "paper", seeds={"run": 0, "student": 1})]
    lines = compare(PAPER, {"base": of_two + on_test, "st": [result(14.0)]}, "base")
    base, st = cells(lines)["BASE"], cells(lines)["ST"]
    assert (base["mean"], base["best on test"], base["optimism"]) == ("11.0 ± 1.4", "12.5 ± 2.1", "+1.5")
    assert (st["mean"], st["best on test"], st["optimism"]) == ("14.0", "", "")
    turned = cells(compare(PAPER, {"base": of_two + on_test}, "base", "paper"))["BASE"]
    assert (turned["mean"], turned["by validation"], turned["optimism"]) == ("12.5 ± 2.1", "11.0 ± 1.4", "+1.5")
    data = {row["row"]: row for row in csv.DictReader(io.StringIO(grid_csv(as_data(lines))))}
    assert (data["base"]["protocol"], data["base"]["other protocol mean"]) == ("strict", "12.5")
    assert (data["base"]["optimism"], data["st"]["optimism"]) == ("1.5", "")


def test_what_was_chosen_on_the_test_split_stands_beside_it_whichever_protocol_is_first():
    chosen = {"epoch": 3, "settings": {"lr_image": 1.0}, "test_reads": 7, "rates_tried": 2}
    results = {"base": [result(10.0), result(11.0, "paper", **chosen)], "st": [result(14.0)]}
    for protocol in ("strict", "paper"):
        line = cells(compare(PAPER, results, "base", protocol))["BASE"]
        assert (line["chosen on test"], line["test reads"]) == ("epoch and rates", "7")
    lines = compare(PAPER, results, "base")
    assert cells(lines)["ST"]["test reads"] == ""
    data = {row["row"]: row for row in csv.DictReader(io.StringIO(grid_csv(as_data(lines))))}
    assert (data["base"]["chosen on test"], data["base"]["test reads"]) == ("epoch and rates", "7")
    assert (data["st"]["chosen on test"], data["st"]["test reads"]) == ("", "")


def test_without_the_other_protocol_it_has_no_columns():
    header = cells(compare(PAPER, {"base": [result(10.0)]}, "base"))["BASE"]
    assert not {"optimism", "best on test", "chosen on test", "test reads"} & set(header)


def test_spread_by_source_is_shown_once_more_than_students_vary():
    def of_seeds(mean, teachers, distillation, student):
        return result(
            mean,
            seeds={"run": distillation, "student": student, "teachers": teachers, "distillation": distillation},
        )

    students = [of_seeds(10.0, 0, 0, 0), of_seeds(12.0, 0, 0, 1)]
    assert "over students" not in cells(compare(PAPER, {"base": students}, "base"))["BASE"]
    again = [*students, of_seeds(14.0, 0, 1, 0), of_seeds(16.0, 0, 1, 1)]
    found = cells(compare(PAPER, {"base": again, "st": [of_seeds(20.0, 0, 0, 0)]}, "base"))
    # within sets of two: 2 and 2, halves of squares 1 + 1 each; means of sets 11 and 15, variance 8
    assert (found["BASE"]["over students"], found["BASE"]["over distillations"]) == ("± 1.4", "± 2.8")
    assert "over teachers" not in found["BASE"] and found["ST"]["over students"] == ""


def test_a_row_is_of_one_method_and_size():
    assert rows_by_protocol([]) == {}
    with pytest.raises(ValueError, match="PTM-ST \\(39\\), LoRS \\(39\\)"):
        rows_by_protocol([result(1.0), result(1.0, method="lors")])
