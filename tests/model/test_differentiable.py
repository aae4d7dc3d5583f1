"""Layers made of others: the same values as PyTorch's, and derivatives that PyTorch does not have."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from torch import Tensor, nn

from pairstill.model.differentiable import ALONG, TWICE, DifferentiableLayers, not_twice, without_tangent


def _rows(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x.sin(), x.cos(), is_causal=True)


GROUPS = nn.GroupNorm(2, 4, eps=0.1).double()
with torch.no_grad():
    GROUPS.weight.copy_(torch.linspace(0.5, 2, 4))
    GROUPS.bias.copy_(torch.linspace(-1, 1, 4))
LAYERS: dict[str, Callable[[Tensor], Tensor]] = {
    "SiLU": nn.SiLU(),
    "SiLU in place": lambda x: nn.SiLU(inplace=True)(x.clone()),
    "Mish": nn.Mish(),
    "Hardsigmoid": nn.Hardsigmoid(),
    "GroupNorm": GROUPS,
    "GroupNorm without weights": nn.GroupNorm(4, 4, affine=False),
    "attention": Attention(),
}
IN_BOTH = ("Hardsigmoid", "attention")


def value_of(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    y = layer(x)
    return (y.sin() * torch.linspace(0.5, 1, y.numel(), dtype=y.dtype).view_as(y)).sum()


def along(layer: Callable[[Tensor], Tensor], x: Tensor, v: Tensor, swapped: Any) -> Tensor | None:
    """Return the derivative of the gradient along v, by tangents."""
    with forward_ad.dual_level(), DifferentiableLayers(swapped):
        dual = forward_ad.make_dual(x, v)
        return forward_ad.unpack_dual(torch.autograd.grad(value_of(layer, dual), dual)[0]).tangent


@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_are_those_of_pytorch(name: str) -> None:
    layer, x = LAYERS[name], _rows(2, 4, 5, 3).requires_grad_()
    with DifferentiableLayers(ALONG):
        found = layer(x)
        gradient = torch.autograd.grad(value_of(layer, x), x)[0]
    torch.testing.assert_close(found, layer(x), rtol=1e-12, atol=1e-12)
    # PyTorch's own gradient of Hardsigmoid has a sixth in single precision
    torch.testing.assert_close(gradient, torch.autograd.grad(value_of(layer, x), x)[0], rtol=1e-7, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # torch's own, at the first tangent
@pytest.mark.parametrize("name", LAYERS)
def test_tangents_of_the_gradient_are_finite_differences_of_it(name: str) -> None:
    layer, x, v = LAYERS[name], _rows(2, 4, 5, 3).requires_grad_(), _rows(2, 4, 5, 3, seed=1)
    step = 1e-6
    there, back = ((x.detach() + sign * step * v).requires_grad_() for sign in (1, -1))
    change = [torch.autograd.grad(value_of(layer, place), place)[0] for place in (there, back)]
    found = along(layer, x, v, ALONG)
    assert found is not None
    torch.testing.assert_close(found, (change[0] - change[1]) / (2 * step), rtol=1e-4, atol=1e-6)
    if name in IN_BOTH:
        with DifferentiableLayers(TWICE):
            (gradient,) = torch.autograd.grad(value_of(layer, x), x, create_graph=True)
            (twice,) = torch.autograd.grad(gradient, x, grad_outputs=v)
        torch.testing.assert_close(twice, found, rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_errors_of_pytorch_name_the_operation(name: str) -> None:
    """Each layer is here because PyTorch itself cannot: once it can, it need not be exchanged."""
    layer, x, v = LAYERS[name], _rows(2, 4, 5, 3).requires_grad_(), _rows(2, 4, 5, 3, seed=1)
    with pytest.raises(RuntimeError) as caught:
        along(layer, x, v, {})
    assert any(word in str(without_tangent(caught.value)) for word in ("silu", "mish", "sigmoid", "group", "attention"))
    assert not_twice(caught.value) is None
    if name in IN_BOTH:
        (gradient,) = torch.autograd.grad(value_of(layer, x), x, create_graph=True)
        with pytest.raises(RuntimeError) as caught:
            torch.autograd.grad(gradient, x, grad_outputs=v)
        assert any(word in str(not_twice(caught.value)) for word in ("hardsigmoid", "attention"))
    assert without_tangent(RuntimeError("out of memory")) is None is not_twice(RuntimeError("out of memory"))
