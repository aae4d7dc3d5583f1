"""Second derivatives that are written out: against PyTorch's own, and that the first pass keeps its bits."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.encoders.convolution import Geometry
from pairstill.encoders.folded import FREE, Bounds, Folding, folded_convolution
from pairstill.model.differentiable import TWICE, DifferentiableLayers
from pairstill.model.second_order import CACHED, SecondOrderLayers


def _random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"padding": 1},
    "strided": {"stride": 2, "padding": (1, 0)},
    "dilated": {"dilation": 2},
    "grouped": {"groups": 2},
    "depthwise": {"groups": 4, "padding": 1, "stride": (2, 1)},
}


def _convolve(name: str, bias: bool) -> tuple[Any, list[Tensor]]:
    settings = CONVOLUTIONS[name]
    x, w = _random(2, 4, 7, 6), _random(4, 4 // settings.get("groups", 1), 3, 3, seed=1)
    inputs = [x, w, _random(4, seed=2)] if bias else [x, w]
    return lambda x, w, b=None: F.conv2d(x, w, b, **settings), inputs


def _standardise(x: Tensor, g: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, g, None, training=True, momentum=0.0, eps=0.1)


def _normalise(x: Tensor, g: Tensor, b: Tensor) -> Tensor:
    mean, var = torch.linspace(-1, 1, 3, dtype=torch.float64), torch.linspace(0.5, 2, 3, dtype=torch.float64)
    return F.batch_norm(x, mean, var, g, b, training=False, eps=0.1)


def _folded(bounds: Bounds, **form: Any) -> tuple[Any, list[Tensor]]:
    mean, factor = torch.linspace(-1, 1, 4, dtype=torch.float64), torch.linspace(0.5, 2, 4, dtype=torch.float64)
    geometry = Geometry(**{"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1, **form})
    folding = Folding(mean, factor, geometry, bounds)
    inputs = [
        _random(2, 4, 5, 6),
        _random(4, 4 // geometry.groups, 3, 3, seed=1),
        _random(4, seed=2),
        _random(4, seed=3),
    ]
    return lambda *of: folded_convolution(*of, folding), inputs


LAYERS = {
    **{f"convolution, {name}": _convolve(name, bias=False) for name in CONVOLUTIONS},
    "convolution, with a bias": _convolve("padded", bias=True),
    "weights standardised": (_standardise, [_random(1, 3, 8), _random(3, seed=1)]),
    "folded": _folded(FREE),
    "folded, with ReLU": _folded((0.0, float("inf"))),
    "folded, with ReLU6, depthwise": _folded((0.0, 1.0), groups=4, padding=[1, 1], stride=[2, 1]),
    "fixed statistics": (_normalise, [_random(2, 3, 4, 4), _random(3, seed=1), _random(3, seed=2)]),
}


def _first_and_second(layer: Any, inputs: list[Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return the layer's output, the gradients of a nonlinear function of it, and a derivative of those."""
    y = layer(*inputs)
    value = (y.sin() * torch.linspace(0.5, 1, y.numel(), dtype=y.dtype).view_as(y)).sum()
    first = torch.autograd.grad(value, inputs, create_graph=True)
    along = [torch.linspace(-1, 1, g.numel(), dtype=g.dtype).view_as(g) for g in first]
    second = torch.autograd.grad(list(first), inputs, grad_outputs=along)
    return y, list(first), list(second)


@pytest.mark.parametrize("name", LAYERS)
def test_derivatives_equal_those_of_pytorch(name: str) -> None:
    layer, inputs = LAYERS[name]
    with DifferentiableLayers(TWICE):
        expected = _first_and_second(layer, inputs)
    with SecondOrderLayers():
        found = _first_and_second(layer, inputs)
    assert type(found[0].grad_fn) is not type(expected[0].grad_fn)
    assert torch.equal(found[0], expected[0])
    for ours, theirs in zip(found[1] + found[2], expected[1] + expected[2], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", LAYERS)
def test_second_derivatives_equal_finite_differences(name: str) -> None:
    layer, inputs = LAYERS[name]

    def swapped(*given: Tensor) -> Tensor:
        with SecondOrderLayers():
            return layer(*given)

    assert torch.autograd.gradgradcheck(swapped, inputs, fast_mode=True)


@pytest.mark.parametrize("name", LAYERS)
def test_first_gradients_have_the_same_bits(name: str) -> None:
    layer, inputs = LAYERS[name]
    with DifferentiableLayers(TWICE):
        expected = torch.autograd.grad(layer(*inputs).square().sum(), inputs)
    with SecondOrderLayers():
        found = torch.autograd.grad(layer(*inputs).square().sum(), inputs)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-14 if name.startswith("folded") else 0, atol=0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_in_single_precision_have_the_same_bits(layout: torch.memory_format) -> None:
    """Else rounding would switch units on or off, and the inner loop would go elsewhere than the plain one."""
    inputs = [_random(20, 16, 9, 9), _random(32, 16, 3, 3, seed=1), _random(32, seed=2)]
    x, w, b = (value.detach().float().requires_grad_() for value in inputs)
    x = x.detach().contiguous(memory_format=layout).requires_grad_()
    expected = torch.autograd.grad(F.conv2d(x, w, b).square().sum(), [x, w, b])
    with SecondOrderLayers():
        found = torch.autograd.grad(F.conv2d(x, w, b).square().sum(), [x, w, b])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_a_folded_convolution_whose_input_needs_no_gradient() -> None:
    layer, (x, *inputs) = LAYERS["folded, with ReLU"]
    x = x.detach()
    with DifferentiableLayers(TWICE):
        expected = _first_and_second(lambda *of: layer(x, *of), inputs)
    with SecondOrderLayers():
        found = _first_and_second(lambda *of: layer(x, *of), inputs)
    for ours, theirs in zip(found[2], expected[2], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_convolution_whose_input_needs_no_gradient() -> None:
    x, w = _random(1, 2, 5, 5).detach(), _random(2, 2, 3, 3, seed=1)
    expected = _first_and_second(lambda w: F.conv2d(x, w), [w])
    with SecondOrderLayers():
        found = _first_and_second(lambda w: F.conv2d(x, w), [w])
    torch.testing.assert_close(found[2][0], expected[2][0])


def test_weights_larger_than_a_block_are_standardised_alike() -> None:
    inputs = [_random(1, 5, CACHED // 2), _random(5, seed=1)]  # two rows a block, and one that is left
    whole = _first_and_second(_standardise, inputs)[2]
    with SecondOrderLayers():
        blocks = _first_and_second(_standardise, inputs)[2]
    for one, other in zip(blocks, whole, strict=True):
        torch.testing.assert_close(one, other)


def test_what_is_not_swapped_stays() -> None:
    x = _random(2, 3, 4, 4)
    with SecondOrderLayers():
        same = F.conv2d(x, _random(3, 3, 3, 3), padding="same")
        batch = F.batch_norm(x, None, None, training=True)
    assert same.shape == x.shape
    torch.testing.assert_close(batch, F.batch_norm(x, None, None, training=True))
