from pairstill.wording import counted


def test_one_thing_is_not_several():
    assert [counted(number, "pair") for number in (0, 1, 2, 7500)] == ["0 pairs", "1 pair", "2 pairs", "7,500 pairs"]
