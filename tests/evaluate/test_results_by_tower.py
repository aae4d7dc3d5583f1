"""Results of several image towers stay apart."""

from pairstill.config import RunConfig
from pairstill.evaluate.measurement import current, measured_as
from pairstill.evaluate.results import RECALL_KEYS, summarise

CONFIG = RunConfig()


def result(method, mean, tower=None):
    seeds = {"run": 0, "teachers": 0, "distillation": 0, "student": 0}
    named = {} if tower is None else {"tower": tower}
    recalls = dict.fromkeys(RECALL_KEYS, mean)
    about = {"num_pairs": 3, "bytes": 9, "seconds": 1.0, "mean_recall": mean, "epoch": 1, "settings": {}}
    key = {"method": method, "protocol": "strict", "measured_as": measured_as(CONFIG, method, "strict"), "seeds": seeds}
    return {**key, **about, **recalls, **named}


def test_each_tower_has_rows_and_a_share_of_its_own_full_data():
    results = [
        result(method, mean, tower) for tower, mean in (("a", 30.0), ("b", 20.0)) for method in ("ptm_st", "full")
    ]
    results[0]["mean_recall"] = results[2]["mean_recall"] = 15.0
    rows = summarise(results)
    assert [row.title for row in rows] == ["PTM-ST, a", "Full data, a", "PTM-ST, b", "Full data, b"]
    assert [row.share for row in rows] == [50.0, 100.0, 75.0, 100.0]
    assert [row.title for row in summarise([result("full", 1.0)])] == ["Full data"]


def test_the_same_student_behind_two_towers_counts_twice():
    results = [result("ptm_st", 15.0, "a"), result("ptm_st", 16.0, "b"), result("ptm_st", 17.0, "b")]
    assert [r["mean_recall"] for r in current(CONFIG, results, None)] == [15.0, 17.0]
