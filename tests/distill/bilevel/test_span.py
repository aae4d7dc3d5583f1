"""Linear heads in the span of the pairs: the same hypergradient as through the heads themselves."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from pairstill.config import HypergradientConfig, RunConfig
from pairstill.core.errors import ConfigError, NumericalError
from pairstill.distill.bilevel.solvers import solver
from pairstill.distill.learned import initial_values
from pairstill.model.dual_encoder import ModelFactory

PARTS = ("images", "texts", "similarity", "inner_lr_image", "inner_lr_text")


@pytest.mark.parametrize(
    ("steps", "loss", "kind"), list(product((1, 2, 9), ("wbce", "infonce"), ("per_tower", "joint")))
)
def test_equals_backpropagation_through_the_heads(make_loop, steps, loss, kind):
    loop = make_loop(trainable=False, linear=True, steps=steps, loss=loss, kind=kind)
    span, naive = solver("exact_span")(loop), solver("unrolled")(loop)
    assert span.losses.keys() == naive.losses.keys()
    for part, value in span.losses.items():
        torch.testing.assert_close(value, naive.losses[part], rtol=1e-12, atol=0)
    for part in PARTS:
        found, expected = getattr(span, part), getattr(naive, part)
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10 * float(expected.abs().max()))
        assert expected.abs().max() > 1e-8 or (part == "similarity" and loss == "infonce")


def test_single_precision_is_as_good_as_through_the_heads(make_loop):
    truth = solver("unrolled")(make_loop(trainable=False, linear=True, steps=8))
    loop = make_loop(trainable=False, linear=True, steps=8, dtype=torch.float32)
    found = solver("exact_span")(loop)
    for part in PARTS:
        expected = getattr(truth, part)
        assert getattr(found, part).dtype == torch.float32
        assert (getattr(found, part) - expected).norm() <= 1e-4 * expected.norm()


def linear_problem(make_problem, **settings):
    problem = make_problem(trainable=False, **settings)
    heads = replace(problem.factory.heads, kind="linear")
    factory: ModelFactory = replace(problem.factory, heads=heads)
    names = factory.initial_parameters(0).keys()

    def only_linear(parameters):
        return {name: value for name, value in parameters.items() if name in names}

    for number, path in enumerate(problem.paths):
        moves = {epoch: only_linear(move) for epoch, move in path.displacements.items()}
        problem.paths[number] = replace(path, initial=only_linear(path.initial), displacements=moves)
    return replace(problem, factory=factory)


@pytest.mark.parametrize("blend", [False, True])
def test_all_that_is_learned_gets_the_same_gradient(make_problem, blend):
    problem = linear_problem(make_problem, blend=blend, trajectories_per_step=2)
    gradients = []
    for mode in ("exact_span", "unrolled"):
        learned = {name: value.clone().requires_grad_() for name, value in initial_values(problem.variables()).items()}
        gradients.append(problem.gradients(learned, problem.draws.segments(0), solver(mode))[1])
    assert gradients[0].keys() == problem.variables().keys()
    for name, found in gradients[0].items():
        assert found is not None and bool(found.any())
        torch.testing.assert_close(found, gradients[1][name], rtol=1e-3, atol=1e-5 * float(found.abs().max()))


def test_auto_takes_it_where_only_linear_heads_are_trained(make_problem):
    auto = HypergradientConfig(mode="auto")
    linear = linear_problem(make_problem, hypergradient=auto)
    assert linear.solver.mode == "exact_span"
    residual = make_problem(trainable=False, hypergradient=auto)
    assert residual.solver.mode == "exact_store"


@pytest.mark.parametrize("tower", ["trained", "residual"])
def test_it_is_refused_where_more_is_trained(tower):
    run = RunConfig()
    if tower == "residual":
        run = replace(run, image=replace(run.image, trainable=False), heads=replace(run.heads, image=True, width=8))
    asked = replace(run.distill, hypergradient=HypergradientConfig(mode="exact_span"))
    with pytest.raises(ConfigError, match="exact_span, which needs a frozen image tower and heads.kind linear"):
        replace(run, distill=asked)


def test_a_gradient_that_is_not_finite_names_the_inner_step(make_loop):
    loop = make_loop(trainable=False, linear=True, steps=3)
    broken = replace(loop, rates=replace(loop.rates, image=torch.tensor(1e308, dtype=torch.float64)))
    with pytest.raises(NumericalError, match="not finite at inner step"):
        solver("exact_span")(broken)


@pytest.mark.parametrize("mode", ["exact_recompute", "exact_span"])
def test_the_mean_at_twice_the_inner_rates_is_the_sum(make_problem, mode):
    found = []
    for directions, rate in (("sum", 0.1), ("mean", 0.2)):
        problem = linear_problem(make_problem, loss="infonce")
        factory = replace(problem.factory, info_nce=directions)
        problem = replace(problem, factory=factory)
        learned = {name: value.clone().requires_grad_() for name, value in initial_values(problem.variables()).items()}
        for side in ("image", "text"):
            learned[f"inner_lr_{side}"].data.fill_(rate)
        found.append(problem.gradients(learned, problem.draws.segments(0), solver(mode)))
    (losses, added), (others, mean) = found
    for part, value in losses.items():
        torch.testing.assert_close(others[part], value)
    for name in ("images", "texts"):
        torch.testing.assert_close(mean[name], added[name])
    for side in ("image", "text"):
        torch.testing.assert_close(2 * mean[f"inner_lr_{side}"], added[f"inner_lr_{side}"])
