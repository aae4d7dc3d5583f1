import pytest

from pairstill.evaluate.spread import Repeat, Spread, spread


def repeats(sets):
    """The repeats of `{(teachers, distillation): values}`."""
    return [Repeat(*seeds, value) for seeds, values in sets.items() for value in values]


def test_every_level_by_hand():
    # within sets: deviations of 1, four times two; set means 2, 6 and 1, 3: squares 8 and 2; teachers' means 4 and 2
    found = spread(repeats({(0, 0): (1, 3), (0, 1): (5, 7), (1, 0): (0, 2), (1, 1): (2, 4)}))
    assert found == Spread(pytest.approx(2**0.5), pytest.approx(5**0.5), pytest.approx(2**0.5))


def test_a_level_with_one_member_is_not_measured():
    assert spread(repeats({(0, 0): (4,)})) == Spread(None, None, None)
    assert spread(repeats({(0, 0): (3, 5)})) == Spread(pytest.approx(2**0.5), None, None)


def test_each_level_is_measured_without_the_others():
    # one student for each of two distillations by the same teachers
    assert spread(repeats({(0, 0): (1,), (0, 1): (3,)})) == Spread(None, pytest.approx(2**0.5), None)
    # every set with teachers of its own, as when one seed decides everything
    assert spread(repeats({(0, 0): (1,), (1, 1): (3,)})) == Spread(None, None, pytest.approx(2**0.5))


def test_groups_count_by_their_members():
    # squares 8 of four members and 2 of two: 10 over 3 + 1 degrees of freedom
    found = spread(repeats({(None, None): (1, 1, 1, 1 + 8**0.5 * (4 / 3) ** 0.5), (0, 0): (0, 2)}))
    assert found.students == pytest.approx((10 / 4) ** 0.5)


def test_a_shift_of_one_level_leaves_those_below():
    sets = {(0, 0): (1, 3), (0, 1): (5, 8), (1, 0): (0, 2), (1, 1): (2, 4)}
    moved = {seeds: tuple(v + 100 * seeds[0] for v in values) for seeds, values in sets.items()}
    before, after = spread(repeats(sets)), spread(repeats(moved))
    assert (after.students, after.distillations) == pytest.approx((before.students, before.distillations))
    assert after.teachers > before.teachers


def test_the_order_of_results_does_not_matter():
    found = repeats({(0, 0): (1, 3), (0, 1): (5, 8), (1, 0): (0, 2)})
    assert spread(found) == spread(found[::-1])
