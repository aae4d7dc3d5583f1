"""The numbers of the README and of the page on Flickr8k are those of the committed results."""

import csv
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

import pytest

FLICKR8K = Path(__file__).parents[2] / "benchmarks" / "flickr8k"
pytestmark = pytest.mark.skipif(not FLICKR8K.is_dir(), reason="benchmarks are in the repository, not in the package")


def script(name):
    spec = importlib.util.spec_from_file_location(f"flickr8k_{name}", FLICKR8K / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def render():
    return script("render")


@pytest.fixture(scope="module")
def transfer():
    return script("transfer")


@pytest.fixture(scope="module")
def results(render):
    return render.read(FLICKR8K / "results.jsonl")


def student(row, method, pairs, mean, commit="a" * 40, **more):
    return {"row": row, "method": method, "num_pairs": pairs, "mean_recall": mean, "commit": commit} | {
        "protocol": "strict",
        **more,
    }


def test_the_readme_and_the_page_say_what_the_results_say(render, results):
    for path, text in render.pages(results).items():
        assert path.read_text(encoding="utf-8") == text, "python benchmarks/flickr8k/render.py writes it"


def test_the_figure_shows_the_results(render, results):
    with (FLICKR8K / "figures" / "recall.csv").open(newline="") as file:
        shown = list(csv.DictReader(file))
    assert shown == [{name: str(value) for name, value in row.items()} for row in render.figure_data(results)]


def test_a_curve_has_one_name_and_one_length_and_a_line_joins_what_one_commit_measured(render, results):
    for curve in (render.FULL, *render.DRAWN):
        sizes = [point.pairs for point in render.points_of(results, curve)]
        assert sizes and len(set(sizes)) == len(sizes)
    points = [render.Point(pairs, 1.0, 0.0, commits) for pairs, commits in ((1, ("a",)), (2, ("a",)), (3, ("b",)))]
    points += [render.Point(4, 1.0, 0.0, ("a", "b")), render.Point(5, 1.0, 0.0, ("a", "b"))]
    assert [(left.pairs, right.pairs) for left, right in render.lines_of(points)] == [(1, 2)]


def test_rows_with_auto_phases_are_another_curve_than_those_without(render):
    auto, plain = student("auto_100", "ptm_st", 99, 30.0), student("frozen_100", "ptm_st", 99, 10.0)
    paper = student("auto_100", "ptm_st", 99, 90.0, protocol="paper")
    named = student("long_100", "ptm_st", 99, 20.0, title="PTM-ST, features first")
    found = render.points_of([auto, plain, paper, named], render.AUTO_PHASES)
    assert [asdict(point) for point in found] == [{"pairs": 99, "mean": 30.0, "std": 0.0, "commits": ("aaaaaaa",)}]
    assert render.titled(named) is named


def test_the_sentence_has_shares_of_full_data(render):
    rows = [student("auto_100", "ptm_st", 99, 9.0), student("frozen_100", "random", 100, 2.5)]
    rows += [student("auto_200", "ptm_st", 199, 9.5), student("frozen_200", "random", 200, 4.0, "b" * 40)]
    said = " ".join(render.sentence([*rows, student("frozen_100", "full", 30000, 10.0)]).split())
    assert "99 and 199 distilled pairs of Flickr8k (PTM-ST, auto phases)" in said
    assert "90 and 95 % of what 30,000 real ones do; 100 and 200 random pairs teach 25 and 40 %" in said
    assert said.endswith("(commits aaaaaaa and bbbbbbb).")


def test_shares_of_full_data_by_an_older_choice_of_rates_are_told_beside_those_of_todays(render):
    old = [student("auto_100", "ptm_st", 99, 9.0), student("frozen_100", "full", 30000, 10.0)]
    transfer = [
        {"row": "full/mobilenetv1_075/minilm", "mean_recall": 12.0},
        {"row": "kept_both/99", "mean_recall": 1.0},
    ]
    said = " ".join(render.caveat(old, transfer).split())
    assert "full data has 12.0 in place of 10.0, of which the distilled pairs, as they were measured, have 75 %" in said
    assert render.caveat(old, []) == ""
    assert render.caveat([old[0], student("frozen_100", "full", 30000, 10.0, rates={"trials": []})], transfer) == ""


def test_what_is_said_of_other_encoders_is_what_one_commit_measured(transfer, tmp_path):
    for path, text in transfer.pages(transfer.read(transfer.RESULTS)).items():
        assert path.read_text(encoding="utf-8") == text, "python benchmarks/flickr8k/transfer.py writes it"
    other = tmp_path / "results.jsonl"
    other.write_text('{"commit": "a"}\n{"commit": "b"}\n')
    with pytest.raises(SystemExit, match="holds results of 2 commits; a table is of one"):
        transfer.read(other)


def test_new_rows_take_the_place_of_old_ones_if_one_commit_measured_them(render):
    old = [student("long_100", "lors", 99, 1.0), student("long_100", "mtt_vl", 100, 2.0)]
    new = [student("long_100", "lors", 99, 3.0, "b" * 40)]
    assert render.taken_in(old, new) == ([old[1], *new], [old[0]])
    with pytest.raises(SystemExit, match="these are of 2"):
        render.taken_in(old, [*new, student("long_200", "lors", 199, 3.0, "c" * 40)])
    with pytest.raises(SystemExit, match="of rows that one commit measured"):
        render.taken_in(old, [json.loads('{"method": "lors", "commit": "b"}')])
