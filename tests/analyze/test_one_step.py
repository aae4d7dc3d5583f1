"""The matching problem of Appendix C on losses whose derivatives are known."""

import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pairstill.analyze.one_step import Bound, BoundTerms, OneStepProblem
from pairstill.analyze.proposition import Differences
from pairstill.distill.bilevel.inner_loop import InnerData, InnerRates, PairLoss
from pairstill.teachers.shortcut import TeacherPath

sys.path.insert(0, str(Path(__file__).parents[1]))
from pretend_gpu import ELSEWHERE, pretended_gpu  # noqa: E402 - a helper beside the tests, which are no package

ETA, EPOCHS = 0.5, 4
START, END = torch.tensor([1.0, -2.0]), torch.tensor([5.0, 2.0])


def _problem(loss: PairLoss, images: Tensor) -> OneStepProblem:
    rate = torch.tensor(ETA, dtype=torch.float64)
    data = InnerData(images, torch.zeros(len(images), 1), torch.eye(len(images)))
    return OneStepProblem(loss, data, InnerRates(rate, rate), span=1)


def _line(pace: list[float]) -> TeacherPath:
    return TeacherPath(
        {"image_w": START}, torch.tensor([pace], dtype=torch.float64), {EPOCHS: {"image_w": END - START}}
    )


EVEN = _line([0.0, 0.25, 0.5, 0.75, 1.0])


def _bilinear(p: dict[str, Tensor], x: Tensor, y: Tensor, s: Tensor, masks: object) -> Tensor:
    return (x @ p["image_w"]).sum()


def _quadratic(p: dict[str, Tensor], x: Tensor, y: Tensor, s: Tensor, masks: object) -> Tensor:
    return 0.5 * (p["image_w"] - x.sum(0)).square().sum()


def test_a_straight_even_path_has_equal_gradients_for_a_quadratic_loss_of_pairs_and_parameters() -> None:
    problem = _problem(_bilinear, torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64))
    rows = torch.stack([problem.gradient(EVEN, start) for start in (0, 0.5, 1, 2.25, 3)])
    torch.testing.assert_close(rows, rows[:1].expand_as(rows))
    uneven = _line([0.0, 0.7, 0.8, 0.9, 1.0])
    assert float((problem.gradient(uneven, 0) - problem.gradient(uneven, 1)).norm()) > 0.01


def test_the_gradient_is_that_of_appendix_c() -> None:
    """L = |v| / |d| with v = eta g + d and g = theta - sum x, so dL/dx = -eta v / (|d| |v|) for each x."""
    images = torch.tensor([[1.0, 0.5], [2.0, 0.25]], dtype=torch.float64)
    step = (END - START).double() / EPOCHS
    v = ETA * (START.double() + 2 * step - images.sum(0)) + step
    expected = -ETA * v / (step.norm() * v.norm())
    found = _problem(_quadratic, images).gradient(EVEN, 2).view(2, 2)
    torch.testing.assert_close(found, expected.expand(2, 2))


def test_terms_of_the_bound_by_hand() -> None:
    images = torch.tensor([[1.0, 0.5], [2.0, 0.25]], dtype=torch.float64)
    terms = _problem(_quadratic, images).bound_terms(EVEN, 1.0, 0.5, 50)
    assert terms.hessian == pytest.approx(1.0)  # the identity
    assert terms.mixed == pytest.approx(2**0.5)  # minus the identity for each of two images
    assert (terms.hessian_change, terms.mixed_change) == (0.0, 0.0)
    step = (END - START).double() / EPOCHS
    v = [ETA * (START.double() + t * step - images.sum(0)) + step for t in (1.0, 1.5)]
    expected = float((v[1] / v[1].norm() - v[0] / v[0].norm()).norm() / 0.5)
    assert terms.direction_change == pytest.approx(expected)


def test_the_terms_are_measured_where_the_pairs_are() -> None:
    images = torch.tensor([[1.0, 0.5], [2.0, 0.25]], dtype=torch.float64)
    expected = _problem(_quadratic, images).bound_terms(EVEN, 1.0, 0.5, 50)
    with pretended_gpu():  # which refuses what is not there
        problem = _problem(_quadratic, images.to(ELSEWHERE))
        rate = torch.tensor(ETA, dtype=torch.float64).to(ELSEWHERE)
        start, moves = ({"image_w": value.to(ELSEWHERE)} for value in (START, END - START))
        line = TeacherPath(start, torch.tensor([[0.0, 0.25, 0.5, 0.75, 1.0]]).double(), {EPOCHS: moves})
        found = replace(problem, rates=InnerRates(rate, rate)).bound_terms(line, 1.0, 0.5, 50)
    assert asdict(found) == pytest.approx(asdict(expected))


def test_constants_by_hand() -> None:
    terms = [BoundTerms(0, 9.0, 3.0, 1.0, 0.5, 0.25), BoundTerms(1, 9.0, 1.0, 2.0, 0.1, 0.25)]
    bound = Bound(rate=0.1, span=2, epoch_step=0.5, terms=terms)
    assert bound.printed == pytest.approx(0.1 / (2 * 0.5) * (3.0 * 0.5 + 2.0))
    assert bound.derived == pytest.approx(0.1 / (2 * 0.5) * max(0.5 + 1.0 * 0.25, 0.1 + 2.0 * 0.25))


def test_the_bound_of_step_iii_is_tight_where_the_mixed_hessian_is_constant() -> None:
    images = torch.tensor([[1.0, 0.5], [2.0, 0.25]], dtype=torch.float64)
    problem, starts = _problem(_quadratic, images), [0.0, 0.25, 0.5, 0.75, 1.0]
    rows = torch.stack([problem.gradient(EVEN, start) for start in starts])
    apart = torch.cdist(rows, rows).unsqueeze(0)
    terms = [problem.bound_terms(EVEN, number / 16, 0.01, 50) for number in range(17)]
    step = float((END - START).double().norm()) / EPOCHS
    bound = Bound(ETA, 1, step, terms)
    measured = Differences(starts, apart, rows.norm(dim=1).unsqueeze(0)).by_distance()
    assert [distance for distance, _ in measured] == [0.25, 0.5, 0.75, 1.0]
    # the largest rate of change is known at the measured starts only
    assert all(float(values.max()) <= 1.01 * bound.derived * distance for distance, values in measured)
    assert float(measured[0][1].max()) > 0.9 * bound.derived * 0.25
