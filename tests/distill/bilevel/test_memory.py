import gc
from dataclasses import replace
from functools import partial

import pytest
import torch

from pairstill.distill.bilevel.memory import device_bytes, saved_bytes
from pairstill.distill.bilevel.step_derivative import step_graph

CPU = torch.device("cpu")


def test_saved_bytes_by_hand():
    x = torch.ones(10, requires_grad=True)
    # the square saves x alone; the product of two squares saves both factors
    assert saved_bytes(lambda: x.square()) == 40
    assert saved_bytes(lambda: x.square() * x.exp()) == 40 + 40 + 40


def test_a_tensor_that_is_saved_twice_or_as_a_view_counts_once():
    x = torch.ones(6, 2, requires_grad=True)
    assert saved_bytes(lambda: (x * x) + (x.T @ x)[0, 0]) == 48


def test_a_wider_batch_saves_more(make_loop):
    loop = make_loop(trainable=True, steps=2)
    whole, half = loop.steps[0], replace(loop.steps[0], index=loop.steps[0].index[:1])
    large, small = (
        saved_bytes(lambda s=step: step_graph(loop.loss, loop.start, loop.data, s)) for step in (whole, half)
    )
    assert large > 1.5 * small > 0


def live_tensors():
    gc.collect()
    return sum(issubclass(type(found), torch.Tensor) for found in gc.get_objects())


def test_measuring_a_graph_does_not_keep_it(make_loop):
    loops = [make_loop(trainable=trainable, steps=1) for trainable in (True, False)]

    def build(loop, *, fails):
        graph = step_graph(loop.loss, loop.start, loop.data, loop.steps[0])
        if fails:
            raise ValueError("in the middle")
        return graph

    before = live_tensors()
    for loop in loops:
        assert saved_bytes(partial(build, loop, fails=False)) > 0
        with pytest.raises(ValueError, match="in the middle"):
            saved_bytes(partial(build, loop, fails=True))
    assert live_tensors() == before


def test_the_machine_has_memory():
    assert device_bytes(CPU) > 2**28
