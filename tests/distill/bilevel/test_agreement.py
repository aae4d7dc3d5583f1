"""Gradients by start epoch, and how far they agree."""

import pytest
import torch

from pairstill.config import HypergradientConfig
from pairstill.core.rng import make_generator
from pairstill.distill.bilevel.agreement import cosines, start_gradients
from pairstill.distill.bilevel.segments import Segment
from pairstill.distill.bilevel.solvers import Truncated, Unrolled
from pairstill.distill.learned import initial_values


def rows_of(problem, starts, repeats):
    """The gradients at all starts, (starts, values of all images)."""
    return torch.stack(list(start_gradients(problem, starts, repeats)))


def test_cosines_by_hand():
    found = cosines(torch.tensor([[2.0, 0.0], [3.0, 4.0], [0.0, -1.0], [0.0, 0.0]]))
    expected = [[1.0, 0.6, 0.0, 0.0], [0.6, 1.0, -0.8, 0.0], [0.0, -0.8, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize("trainable", [True, False])
def test_a_row_is_the_mean_over_the_experts(make_problem, trainable):
    problem = make_problem(trainable=trainable, shortcut=False, seed=3)
    found = rows_of(problem, [0, 2], repeats=3)
    assert found.shape == (2, initial_values(problem.variables())["images"].numel())
    alone = []
    for repeat in range(3):
        steps = problem.draws.inner_steps(make_generator(3, "start gradients", repeat))
        learned = {name: value.clone().requires_grad_() for name, value in initial_values(problem.variables()).items()}
        _, gradients = problem.gradients(learned, [Segment(repeat % 2, 2, steps)], Unrolled())
        alone.append(gradients["images"].flatten())
    torch.testing.assert_close(found[1], torch.stack(alone).mean(0))


def test_gradients_are_exact_where_those_of_the_run_are_truncated(make_problem):
    exact = rows_of(make_problem(inner_steps=4), [1], repeats=1)
    truncated = make_problem(inner_steps=4, hypergradient=HypergradientConfig(mode="truncated"))
    torch.testing.assert_close(rows_of(truncated, [1], repeats=1), exact)
    learned = {name: value.clone().requires_grad_() for name, value in initial_values(truncated.variables()).items()}
    steps = truncated.draws.inner_steps(make_generator(0, "start gradients", 0))
    _, gradients = truncated.gradients(learned, [Segment(0, 1, steps)], Truncated())
    assert not torch.allclose(gradients["images"].flatten(), exact[0], rtol=1e-3)


def test_measuring_again_or_more_starts_changes_no_row(make_problem):
    problem = make_problem(shortcut=False)
    before = {name: value.clone() for name, value in initial_values(problem.variables()).items()}
    once = rows_of(problem, [1], repeats=2)
    assert torch.equal(rows_of(problem, [0, 1], repeats=2)[1], once[0])
    for name, value in initial_values(problem.variables()).items():
        assert torch.equal(value, before[name]) and value.grad is None
