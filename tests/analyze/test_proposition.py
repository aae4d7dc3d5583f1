"""Fits and the order of differences, by hand."""

import pytest
import torch

from pairstill.analyze.proposition import Differences, fit


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
