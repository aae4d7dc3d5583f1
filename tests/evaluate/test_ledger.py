from dataclasses import replace

import pytest

from pairstill.evaluate.ledger import Key, Ledger, Record

KEY = Key(
    *("cross", "ptm_st", "strict", 0, "a1"),
    seeds={"run": 0, "teachers": 1, "distillation": 2},
    pairs="b2",
    test_data="c3",
    encoders="d4",
)
OTHERS = [
    *({"row": "lors"}, {"protocol": "paper"}, {"student": 1}, {"measured_as": "a2"}, {"kind": "shares"}),
    *({"seeds": {"run": 0, "teachers": 2}}, {"pairs": "b3"}, {"test_data": "c4"}, {"encoders": "d5"}),
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: next(iter(other)))
def test_every_part_tells_measurements_apart(other):
    assert not KEY.agrees(replace(KEY, **other)) and not replace(KEY, **other).agrees(KEY)
    assert replace(KEY, **other).file_name != KEY.file_name


@pytest.mark.parametrize("unknown", [{"seeds": {}}, {"pairs": None}, {"test_data": None}, {"encoders": None}])
def test_a_part_that_is_not_known_contradicts_nothing(unknown):
    assert KEY.agrees(replace(KEY, **unknown)) and replace(KEY, **unknown).agrees(KEY)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("retrieval", {"method": "lors", "protocol": "paper", "seeds": {"run": 3, "student": 1}, "measured_as": "a"}),
        ("cross", {"method": "lors", "protocol": "strict", "seeds": {"run": 3, "student": 1}, "measured_as": "a"}),
        ("shares", {"variant": "random", "student": 1, "measured_as": "a", "pairs": None}),
        ("downstream", {"method": "lors", "seeds": {"run": 3, "student": 1}, "measured_as": "a", "fingerprint": "f"}),
    ],
)
def test_lines_of_older_versions_are_found(tmp_path, kind, line):
    ledger = Ledger(kind, tmp_path)
    ledger.add(Record(Key.of(kind, line), {**line, "ranks": "r", "mean_recall": 1.0}))
    row, protocol = "random" if kind == "shares" else "lors", "paper" if kind == "retrieval" else "strict"
    asked = replace(KEY, kind=kind, row=row, protocol=protocol, student=1, measured_as="a", seeds={"run": 3})
    asked = replace(asked, test_data="f")
    found = ledger.find(asked)
    assert found is not None and found.facts["mean_recall"] == 1.0
    assert ledger.find(replace(asked, measured_as="b")) is None
    assert [record.key.student for record in ledger.students(replace(asked, student=0))] == [1]


def test_a_record_is_read_as_it_was_written_and_takes_the_place_of_its_own(tmp_path):
    ledger, other = Ledger("cross", tmp_path), replace(KEY, pairs="b3")
    for key, recall in ((KEY, 1.0), (other, 2.0), (replace(KEY, student=1), 3.0), (KEY, 4.0)):
        ledger.add(Record.new(key, {"mean_recall": recall}))
    assert [record.facts["mean_recall"] for record in ledger.records()] == [4.0, 2.0, 3.0]
    assert [record.key for record in ledger.records()] == [KEY, other, replace(KEY, student=1)]
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.add(Record.new(KEY, {"mean_recall": float("nan")}))
    assert len(ledger.records()) == 3
