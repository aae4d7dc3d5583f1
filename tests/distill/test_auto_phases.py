"""Phases out of numbers, by hand."""

from dataclasses import replace

import pytest
import torch

from pairstill.config import AutoPhasesConfig, PhaseConfig
from pairstill.core.errors import ConfigError, NumericalError
from pairstill.distill.auto_phases import (
    EndpointRange,
    Evidence,
    PhaseRange,
    admissible_endpoints,
    choose_ranges,
    divide_starts,
    endpoints_of,
    gain_ahead,
    levelled,
    most_phases,
    share_out,
    sized_phases,
    useful_starts,
)

AUTO = AutoPhasesConfig()


def block(*rows):
    return torch.tensor(rows, dtype=torch.float64)


# four starts: 0 opposes 2 and 3, the others agree
FOUR = block([1, 0.1, -0.3, -0.5], [0.1, 1, 0.7, 0.3], [-0.3, 0.7, 1, 0.8], [-0.5, 0.3, 0.8, 1])


def evidence(agreement, along, first, last):
    return Evidence(torch.zeros(1, 1), torch.ones(9), EndpointRange(first, last, 0.0), along, agreement)


def test_endpoints_within_the_error_of_the_best_by_hand():
    # means 1, 20, 28.8, 30, 29.5, 28; at epoch 3 the teachers have 29 and 31: deviation sqrt 2, error of the mean 1
    recalls = torch.tensor([[1.0, 20.0, 28.5, 29.0, 29.0, 27.0], [1.0, 20.0, 29.1, 31.0, 30.0, 29.0]])
    found = admissible_endpoints(recalls)
    assert (found.first, found.last) == (3, 4) and found.error == pytest.approx(1.0)


def test_one_teacher_has_no_error_and_the_first_of_equals_is_enough():
    assert admissible_endpoints(torch.tensor([[1.0, 30.0, 30.0, 29.9]])) == EndpointRange(1, 2, 0.0)


def test_teachers_that_still_rise_end_at_their_last_epoch():
    assert admissible_endpoints(torch.tensor([[1.0, 10.0, 20.0, 30.0]])) == EndpointRange(3, 3, 0.0)


@pytest.mark.parametrize(
    ("recalls", "span"), [([5.0, 4.0, 3.0], 1), ([5.0, 5.0], 1), ([1.0, 9.0, 8.0], 2)], ids=["falls", "flat", "short"]
)
def test_teachers_that_learn_nothing_in_reach_are_an_error(recalls, span):
    with pytest.raises(ConfigError, match=r"is best after epoch \d.*lower teacher.lr_image"):
        admissible_endpoints(torch.tensor([recalls]), span)


@pytest.mark.parametrize(
    ("first", "last", "phases", "expected"),
    [(6, 8, 1, (6,)), (6, 8, 2, (6, 8)), (6, 10, 3, (6, 8, 10)), (6, 9, 3, (6, 8, 9)), (4, 4, 2, (4, 4))],
)
def test_endpoints_go_from_the_first_to_the_last(first, last, phases, expected):
    assert endpoints_of(EndpointRange(first, last, 0.0), phases) == expected


def test_the_gain_ahead_by_hand():
    along = torch.tensor([1.0, 28.0, 34.0, 35.0, 36.0])
    torch.testing.assert_close(gain_ahead(along), torch.tensor([35.0, 8.0, 2.0, 1.0, 0.0]) / 35)
    assert [useful_starts(along, share) for share in (0.5, 0.05, 0.03, 0.02, 0.0)] == [1, 3, 3, 4, 4]


def test_no_start_goes_past_the_endpoint():
    assert useful_starts(torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]), 0.0, span=3) == 2


def test_pairs_and_steps_bound_the_phases():
    assert [most_phases(AUTO, pairs, 50) for pairs in (20, 99, 197, 198, 499)] == [1, 1, 1, 2, 3]
    assert most_phases(AUTO, 499, 2) == 2


def test_a_division_by_hand():
    # {0} {1 2 3}: 1 + sqrt(3 + 2 (0.7 + 0.3 + 0.8)) = 3.57; {0 1} {2 3}: sqrt 2.2 + sqrt 3.6 = 3.38; {0 1 2} opposes
    found = divide_starts({4: FOUR}, (4, 4), 4, AUTO)
    assert found is not None
    assert [(s.first, s.last, s.endpoint) for s in found] == [(0, 0, 4), (1, 3, 4)]
    assert [s.agreement for s in found] == pytest.approx([1.0, 0.6])


def test_what_opposes_is_not_put_together():
    assert divide_starts({4: FOUR}, (4,), 4, AUTO) is None
    assert divide_starts({4: FOUR}, (4,), 4, replace(AUTO, min_agreement=-0.5)) is not None
    assert divide_starts({4: FOUR}, (4, 4), 4, replace(AUTO, min_agreement=0.5)) is None


def test_each_phase_is_judged_on_its_own_shortcut():
    same = torch.ones(3, 3, dtype=torch.float64)
    opposed = block([1, 0.9, -0.1], [0.9, 1, -0.1], [-0.1, -0.1, 1])
    for agreement, expected in (({4: same, 6: opposed}, [(0, 1), (2, 2)]), ({4: opposed, 6: same}, [(0, 0), (1, 2)])):
        found = divide_starts(agreement, (4, 6), 3, AUTO)
        assert found is not None and [(s.first, s.last) for s in found] == expected
    # with a span of 3 the start 1 cannot come before the endpoint 3
    assert divide_starts({3: same, 6: same}, (3, 6), 3, AUTO, span=3) == [
        PhaseRange(0, 0, 3, 1.0),
        PhaseRange(1, 2, 6, 1.0),
    ]


def test_the_smallest_number_that_covers_the_most():
    along = {4: torch.tensor([0.0, 50.0, 70.0, 80.0, 100.0])}
    ranges = [
        [(s.first, s.last) for s in choose_ranges(evidence({4: FOUR}, along, 4, 4), most, AUTO)] for most in (1, 2, 3)
    ]
    # one phase gives up starts 2 and 3, two cover all, and three would cover no more
    assert ranges == [[(0, 1)], [(0, 0), (1, 3)], [(0, 0), (1, 3)]]


def test_starts_with_little_ahead_are_left_out():
    along = {4: torch.tensor([0.0, 50.0, 70.0, 96.0, 100.0])}
    found = choose_ranges(evidence({4: FOUR}, along, 4, 4), 2, AUTO)
    assert [(s.first, s.last) for s in found] == [(0, 0), (1, 2)]


def test_teachers_that_agree_need_one_phase():
    along = {e: torch.linspace(0, 100, e + 1) for e in (3, 5)}
    agreement = {e: torch.ones(e, e) for e in (3, 5)}
    found = choose_ranges(evidence(agreement, along, 3, 5), 1, AUTO)
    assert [(s.first, s.last, s.endpoint) for s in found] == [(0, 2, 3)]


def test_gradients_of_zero_give_one_start():
    found = choose_ranges(evidence({2: torch.zeros(2, 2)}, {2: torch.tensor([0.0, 1.0, 9.0])}, 2, 2), 1, AUTO)
    assert [(s.first, s.last) for s in found] == [(0, 1)]


def test_an_agreement_that_is_not_finite_is_an_error():
    cosines = {2: torch.full((2, 2), float("nan"))}
    with pytest.raises(NumericalError, match="shortcut to 2 are not finite"):
        choose_ranges(evidence(cosines, {2: torch.tensor([0.0, 1.0, 9.0])}, 2, 2), 1, AUTO)


@pytest.mark.parametrize(
    ("total", "weights", "least", "expected"),
    [
        (100, [3.0, 2.0, 0.5], 20, [48, 32, 20]),
        (199, [1.0, 1.0], 99, [100, 99]),
        (199, [4.7, 4.0], 99, [100, 99]),
        (499, [4.0, 6.0], 99, [200, 299]),
        (5, [1.0, 9.0], 99, [2, 3]),
        (7, [1.0], 99, [7]),
    ],
)
def test_shares_by_hand(total, weights, least, expected):
    assert share_out(total, weights, least) == expected


@pytest.mark.parametrize("total", [3, 50, 199, 1000])
def test_shares_add_up_and_none_is_below_the_least(total):
    for weights in ([1.0, 2.0, 3.0], [5.0, 0.1, 0.1], [1.0, 1.0, 1.0]):
        parts = share_out(total, weights, 20)
        assert sum(parts) == total and min(parts) >= min(20, total // 3)


def test_sizes_go_with_the_path_and_steps_are_equal():
    ranges = [PhaseRange(0, 0, 4, 1.0), PhaseRange(1, 2, 5, 0.7)]
    phases = sized_phases(ranges, torch.tensor([4.0, 3.5, 2.5, 9.0, 9.0]), 100, 25, 10)
    assert phases == (PhaseConfig(40, 13, 0, 0, 4), PhaseConfig(60, 12, 1, 2, 5))


def test_recalls_of_several_towers_are_levelled_to_one_best_mean():
    recalls = torch.tensor([[1.0, 20.0, 30.0], [1.0, 22.0, 28.0], [3.0, 44.0, 42.0], [3.0, 40.0, 46.0]])
    found = levelled(recalls, 2)
    # the best means are 29 and 44: 36.5 for both
    assert torch.equal(found, recalls + torch.tensor([[7.5], [7.5], [-7.5], [-7.5]]))
    assert admissible_endpoints(found).error < admissible_endpoints(recalls).error
    assert levelled(recalls, 1) is recalls
