"""Layers that PyTorch does not differentiate as often as an inner step needs, made of operations that it does.

An inner step is differentiated twice: backwards through its gradient, or with tangents along it. For some layers
PyTorch has no formula for the second. Here they are composed of others; the values are the same up to rounding. Models
need not know: `DifferentiableLayers` exchanges the functions that they call.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from pairstill.encoders.folded import composed_convolution, folded_convolution

Swapped = Mapping[Any, Callable[..., Any]]

_NO_TANGENT = re.compile(r"forward AD with (\S+) that does not support it|(custom autograd\.Function) to use it with")
_NOT_TWICE = re.compile(r"derivative for (\S+) is not implemented|function that was marked with @(once_differentiable)")


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    return F.relu6(input + 3) / 6


def _silu(input: Tensor, inplace: bool = False) -> Tensor:
    return input * input.sigmoid()


def _mish(input: Tensor, inplace: bool = False) -> Tensor:
    return input * F.softplus(input).tanh()


def _group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    grouped = input.reshape(len(input), num_groups, -1)
    y = F.layer_norm(grouped, grouped.shape[2:], eps=eps).view_as(input)
    by_channel = (1, -1, *[1] * (input.ndim - 2))
    y = y if weight is None else y * weight.view(by_channel)
    return y if bias is None else y + bias.view(by_channel)


def _attention(*args: Any, **kwargs: Any) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(*args, **kwargs)


TWICE: Swapped = {
    F.hardsigmoid: _hardsigmoid,
    F.scaled_dot_product_attention: _attention,
    folded_convolution: composed_convolution,
}
"""Layers whose gradient PyTorch cannot differentiate by itself in any way."""
ALONG: Swapped = {**TWICE, F.silu: _silu, F.mish: _mish, F.group_norm: _group_norm}
"""Layers whose gradient cannot carry tangents: those, and some that double backward knows."""


class DifferentiableLayers(TorchFunctionMode):
    """A context in which models call other functions in place of some.

    Example:
        >>> import torch
        >>> with DifferentiableLayers(ALONG):
        ...     round(float(torch.nn.SiLU()(torch.tensor(1.0))), 4)
        0.7311
    """

    def __init__(self, swapped: Swapped) -> None:
        """Exchange the functions that are keys of `swapped` for its values."""
        super().__init__()
        self._swapped = swapped

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call what stands for `func`."""
        return self._swapped.get(func, func)(*args, **(kwargs or {}))


def without_tangent(error: RuntimeError) -> str | None:
    """Return the operation for which an error says that it carries no tangents, or None if it says something else."""
    found = _NO_TANGENT.search(str(error))
    return None if found is None else found[1] or f"a {found[2]} of its own"


def not_twice(error: RuntimeError) -> str | None:
    """Return the operation for which an error says that it cannot be differentiated twice, or None."""
    found = _NOT_TWICE.search(str(error))
    return None if found is None else found[1] or f"a custom autograd.Function marked {found[2]}"


def differentiated(
    outputs: Sequence[Tensor], leaves: Sequence[Tensor], along: Sequence[Tensor], *, retain_graph: bool = False
) -> list[Tensor | None]:
    """Return the derivatives of <outputs, along> for leaves; None for those that do not enter.

    A function marked `once_differentiable` cuts the graph of its gradient off. `torch.autograd.grad` would pass over
    what is behind the cut, as it is on the way to no leaf, and so leave terms out in silence.

    Args:
        outputs: gradients, with their graph.
        leaves: every leaf of the graph, without a `grad`; they have none afterwards.
        along: of the outputs' shapes.
        retain_graph: keep the graph for another time.

    Raises:
        RuntimeError: a part of the graph cannot be differentiated, or is cut off.
    """
    torch.autograd.backward(list(outputs), list(along), retain_graph=retain_graph)
    found = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    return found
