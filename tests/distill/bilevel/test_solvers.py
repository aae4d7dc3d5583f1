"""Which solver is taken, and which options contradict each other."""

import pytest
import torch

from pairstill.config import HypergradientConfig
from pairstill.core.errors import ConfigError
from pairstill.distill.bilevel.memory import device_bytes
from pairstill.distill.bilevel.micro_batches import InMicroBatches
from pairstill.distill.bilevel.solvers import SOLVERS, Choice, ExactRecompute, Truncated, choose, solver
from pairstill.distill.bilevel.step_derivative import ForwardOverReverse

CPU = torch.device("cpu")


def no_graph():
    raise AssertionError("no estimate is needed")


@pytest.mark.parametrize(("steps", "mode"), [(3, "exact_store"), (4, "exact_recompute")])
def test_auto_stores_what_fits(make_factory, steps, mode):
    x = torch.ones(100, requires_grad=True)
    config = HypergradientConfig(memory=3.5 * 400 / device_bytes(CPU))
    choice = choose(config, make_factory(trainable=True), lambda: x.square(), steps)
    assert choice.solver.mode == mode
    assert choice.stored_bytes == 400 * steps
    assert choice.limit_bytes == pytest.approx(1400, abs=1)


@pytest.mark.parametrize("mode", ["exact_store", "exact_recompute", "truncated", "unrolled"])
def test_a_named_mode_needs_no_estimate(make_factory, mode):
    choice = choose(HypergradientConfig(mode=mode), make_factory(trainable=True), no_graph, 8)
    assert (choice.solver.mode, choice.stored_bytes, choice.limit_bytes) == (mode, None, None)
    assert type(choice.solver) is SOLVERS[mode]


def test_linear_heads_take_the_span_and_micro_batches_the_recomputation(make_factory):
    linear = make_factory(trainable=False, kind="linear")
    assert choose(HypergradientConfig(), linear, no_graph, 8).solver.mode == "exact_span"
    found = choose(HypergradientConfig(micro_batch=2), make_factory(trainable=True), no_graph, 8)
    assert found == Choice(ExactRecompute(InMicroBatches(2)))
    assert solver("truncated", "forward_over_reverse") == Truncated(ForwardOverReverse())


@pytest.mark.parametrize(
    ("settings", "model", "message"),
    [
        ({"micro_batch": 2, "mode": "exact_store"}, (True, False), "mode is exact_store and derivative is double"),
        ({"micro_batch": 2, "derivative": "forward_over_reverse"}, (True, False), "derivative is forward_over_reverse"),
        ({"micro_batch": 2}, (False, False), "micro_batch is set but the image tower is frozen"),
        ({"micro_batch": 2, "mode": "exact_span"}, (False, True), "mode is exact_span"),
        ({"mode": "exact_span"}, (True, False), "needs a frozen image tower and heads.kind linear"),
        ({"mode": "exact_span"}, (False, False), "needs a frozen image tower and heads.kind linear"),
    ],
)
def test_options_that_contradict_each_other_are_refused_at_one_place(make_factory, settings, model, message):
    trained, linear = model
    config = HypergradientConfig(**settings)
    with pytest.raises(ConfigError, match=message):
        config.modes(trained=trained, linear=linear)
    factory = make_factory(trainable=trained, **({"kind": "linear"} if linear else {}))
    with pytest.raises(ConfigError, match=message):
        choose(config, factory, no_graph, 8)


@pytest.mark.parametrize("mode", SOLVERS)
def test_a_solver_is_called_as_its_mode(mode):
    assert solver(mode).mode == mode
    held = SOLVERS[mode].graphs_held(8)
    assert held == {"exact_span": 0, "exact_recompute": 1, "truncated": 1}.get(mode, 8)
