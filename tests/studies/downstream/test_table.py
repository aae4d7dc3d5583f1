import pytest

from pairstill.studies.downstream.table import HEADER, about, downstream_cells, downstream_page, downstream_rows


def result(method, top1, top5, retrieval=30.0):
    accuracies = {"top1": top1, "top5": top5, "top10": None}
    groups = {"cat": 10.0, "dog": top1}
    return {
        "method": method,
        "candidates": 8,
        "retrieval_mean_recall": retrieval,
        "top1_by_group": groups,
        **accuracies,
    }


FACTS = {
    "task": "zeroshot",
    "data": "class folders of pets",
    "items": 1200,
    "candidates": 2,
    "classes": ["cat", "dog"],
    "class_seed": 3,
    "templates": ["a photo of a {}"],
}


def test_rows_are_means_and_spreads_after_chance():
    rows = downstream_rows(
        [result("ptm_st", 20.0, 60.0), result("full", 50.0, 90.0), result("ptm_st", 22.0, 64.0, 32.0)]
    )
    assert [row.title for row in rows] == ["Chance", "PTM-ST", "Full data"]
    assert rows[0].means == (12.5, 62.5, None)
    assert rows[1].means == (21.0, 62.0, None) and rows[1].spreads[0] == pytest.approx(2**0.5)
    assert (rows[1].retrieval, rows[1].students) == (31.0, 2)
    assert downstream_cells(rows[1]) == ["PTM-ST", "21.0 ± 1.4", "62.0 ± 2.8", "", "15.5", "31.0", "2"]
    assert downstream_cells(rows[2])[1] == "50.0" and len(downstream_cells(rows[0])) == len(HEADER)
    assert downstream_rows([]) == []


def test_what_the_numbers_are_of_is_said():
    said = about(FACTS)
    assert "1,200 images (class folders of pets) of 2 classes, drawn with seed 3: cat, dog" in said
    asked = {
        "task": "cocoqa",
        "data": "COCO-QA test",
        "items": 5,
        "candidates": 7,
        "template": "T",
        "question_seed": None,
    }
    assert about(asked).startswith("COCO-QA as retrieval: 5 questions of COCO-QA test, 7 candidate")
    page = downstream_page(downstream_rows([result("full", 50.0, 90.0)]), FACTS)
    assert "| Full data | 50.0 | 90.0 |  | 30.0 | 30.0 | 1 |" in page and said in page
