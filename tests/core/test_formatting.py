import pytest

from pairstill.core.formatting import counted, duration, human_bytes, nearest, printable, with_spread


def test_one_thing_is_not_several():
    assert [counted(number, "pair") for number in (0, 1, 2, 7500)] == ["0 pairs", "1 pair", "2 pairs", "7,500 pairs"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0.4 s"), (59.94, "59.9 s"), (59.96, "1 min 0 s"), (3599.6, "1 h 0 min"), (86400, "24 h 0 min")],
)
def test_times_for_people(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_960, "1.0 MB"), (10**16, "10000.0 TB")],
)
def test_sizes_for_people(count, shown):
    assert human_bytes(count) == shown


def test_a_spread_is_shown_where_there_is_one():
    assert [with_spread(32.64, 0.25), with_spread(32.64, 0.0), with_spread(32.64, None), with_spread(None, None)] == [
        "32.6 ± 0.2",
        "32.6 ± 0.0",
        "32.6",
        "",
    ]


def test_near_names_are_alike_as_a_whole_or_after_the_last_dot():
    names = ["teacher.epochs", "student.epochs", "seed", "distill.ema"]
    assert nearest("epochs", names) == ["teacher.epochs", "student.epochs"]
    assert nearest("techer.epochs", names) == ["teacher.epochs", "student.epochs"]
    assert nearest("sed", {"seed": "--seed"}) == ["--seed"]
    assert nearest("verbose", names) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a dog, größe 4\u200d\n\tb", "a dog, größe 4\u200d\n\tb"),
        ("\x1b[31m\x00\x7f\x9b", "␛[31m␀␡\ufffd"),
        ("\u202egnp.exe\u2066", "\ufffdgnp.exe\ufffd"),
        ("\udcff", "\ufffd"),
    ],
)
def test_what_terminals_and_pages_act_on_is_shown_as_a_sign(text, shown):
    assert printable(text) == shown
