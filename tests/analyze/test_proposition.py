"""Fits and the order of differences, by hand."""

import pytest
import torch

from pairstill.analyze.one_step import Bound, BoundTerms
from pairstill.analyze.proposition import Differences, Proposition, difference_rows, fit, summarise_proposition


def test_a_fit_finds_what_grows_in_proportion_and_what_does_not() -> None:
    proportional = fit([0.25, 0.5, 1.0, 2.0, 3.0, 9.0], [0.5, 1.0, 2.0, 4.0, 6.0, 0.0])
    assert (proportional.slope, proportional.free_intercept) == (pytest.approx(2.0), pytest.approx(0.0, abs=1e-12))
    assert proportional.exponent == pytest.approx(1.0)
    constant = fit([1.0, 2.0, 3.0], [5.0, 5.0, 5.0])
    assert (constant.free_slope, constant.free_intercept) == (pytest.approx(0.0), pytest.approx(5.0))
    assert constant.exponent is None
    assert fit([1.0], [5.0]).slope == 5.0


def test_differences_are_grouped_by_the_distance_of_their_starts() -> None:
    apart = torch.tensor([[[0.0, 1.0, 2.0], [1.0, 0.0, 4.0], [2.0, 4.0, 0.0]]])
    found = Differences([0.0, 1.0, 2.0], apart, torch.ones(1, 3)).by_distance()
    assert [(distance, values.tolist()) for distance, values in found] == [(1.0, [1.0, 4.0]), (2.0, [2.0])]


def test_the_bound_of_the_first_expert_is_compared_with_its_own_differences() -> None:
    first, second = ([[0.0, step, 3.0], [step, 0.0, 1.0], [3.0, 1.0, 0.0]] for step in (1.0, 9.0))
    found = Differences([0.0, 1.0, 2.0], torch.tensor([first, second]), torch.ones(2, 3))
    assert (found.steepest(0), found.steepest(1)) == (1.5, 9.0)
    bound = Bound(rate=1.0, span=1, epoch_step=1.0, terms=[BoundTerms(0, 9.0, 1.0, 1.0, 0.5, 0.75)])
    measured = Proposition({"line": found}, bound)
    summary = summarise_proposition(measured)["bound"]
    assert summary["k_as_printed_lower_estimate"] == 2.0 and summary["line_within_k_as_printed"]
    assert summary["k_of_step_iii_lower_estimate"] == 1.25 and not summary["line_within_k_of_step_iii"]
    assert summary["line_steepest_of_first_expert"] == 1.5
    assert next(difference_rows(measured))["bound_as_printed_lower_estimate"] == 2.0
