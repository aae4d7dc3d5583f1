"""Shapes by hand, and against computing with the points themselves."""

import math

import pytest
import torch
from torch import Tensor

from pairstill.analyze.geometry import combine, distances, gram, principal_coordinates, step_lengths, turning_angles

SQUARE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


@pytest.fixture
def points() -> Tensor:
    return torch.randn(6, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_walk_around_a_square_turns_by_right_angles_and_has_sides_of_one() -> None:
    inner = gram(SQUARE)
    assert step_lengths(inner).tolist() == [1.0, 1.0, 1.0]
    assert turning_angles(inner).tolist() == pytest.approx([90.0, 90.0])
    assert distances(inner)[0].tolist() == pytest.approx([0.0, 1.0, math.sqrt(2), 1.0])


def test_a_straight_path_does_not_turn_a_way_back_turns_half_round_and_standing_still_has_no_angle() -> None:
    there_and_back = torch.tensor([[0.0], [1.0], [3.0], [2.0], [2.0]])
    angles = turning_angles(gram(there_and_back))
    assert angles[:2].tolist() == pytest.approx([0.0, 180.0])
    assert angles[2].isnan()


def test_where_the_origin_lies_and_how_the_axes_turn_changes_nothing(points: Tensor) -> None:
    turn = torch.linalg.qr(torch.randn(40, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    moved = points @ turn + 5.0
    for measure in (distances, step_lengths, turning_angles):
        torch.testing.assert_close(measure(gram(moved)), measure(gram(points)))
    here, there = principal_coordinates(gram(points), 3), principal_coordinates(gram(moved), 3)
    torch.testing.assert_close(there.values, here.values)


def test_combinations_are_those_of_the_points(points: Tensor) -> None:
    weights = torch.randn(4, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(combine(gram(points), weights), gram(weights @ points))


def test_layers_add_up(points: Tensor) -> None:
    parts = points.split([10, 25, 5], dim=1)
    torch.testing.assert_close(torch.stack([gram(part) for part in parts]).sum(0), gram(points))


def test_principal_coordinates_are_those_of_a_singular_value_decomposition(points: Tensor) -> None:
    found = principal_coordinates(gram(points), 2)
    u, s, _ = torch.linalg.svd(points - points.mean(0), full_matrices=False)
    torch.testing.assert_close(found.values.abs(), (u[:, :2] * s[:2]).abs())
    torch.testing.assert_close(found.shares, s[:2] ** 2 / (s**2).sum())
    assert (found.values.gather(0, found.values.abs().argmax(0, keepdim=True)) > 0).all()


def test_more_components_than_points_and_points_that_agree_give_zeros() -> None:
    found = principal_coordinates(gram(torch.ones(2, 3)), 3)
    assert found.values.tolist() == [[0.0] * 3] * 2 and found.shares.tolist() == [0.0] * 3
