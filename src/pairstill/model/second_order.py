r"""Convolution and normalisation whose second derivative costs what it must, for the double backward of an inner step.

PyTorch differentiates the backward pass of a convolution by convolutions of unusual shapes, one for each group, and
that of batch normalisation by dozens of passes over its input. Here both are written out: the second derivative of a
convolution is two convolutions and one convolution backward, that of a normalisation a few passes. The values are the
same up to rounding, and the first pass and its gradient are the same bits. Models need not know: `SecondOrderLayers`
swaps the functions that they call.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from pairstill.encoders.convolution import Geometry, convolution_gradients, convolve
from pairstill.encoders.folded import Folding, composed_convolution, folded_convolution
from pairstill.model.differentiable import TWICE, DifferentiableLayers, Swapped

CACHED = 1 << 15
"""Entries of a block that a CPU's cache holds together with what is computed from it."""


class _Convolution(Function):
    """y = x * w + b."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor | None, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.geometry, ctx.has_bias = geometry, b is not None
        return convolve(x, w, b, geometry)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, w = ctx.saved_tensors
        wanted = [ctx.needs_input_grad[0], True, ctx.has_bias]
        return (*_ConvolutionBackward.apply(grads[0], x, w, ctx.geometry, wanted), None)


class _ConvolutionBackward(Function):
    """The gradients of <gy, x * w + b> for x, w and b: bilinear in (gy, w) and in (gy, x), and the sum of gy."""

    @staticmethod
    def forward(ctx: Any, gy: Tensor, x: Tensor, w: Tensor, geometry: Geometry, wanted: list[bool]) -> Any:
        ctx.save_for_backward(gy, x, w)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        return tuple(convolution_gradients(gy, x, w, geometry, wanted))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator's type
        gy, x, w = ctx.saved_tensors
        vx, vw, vb = grads
        to_gy = to_x = to_w = None
        if vx is not None:
            to_gy = convolve(vx, w, None, ctx.geometry)
        if vw is not None:
            along_w = convolve(x, vw, None, ctx.geometry)
            to_gy = along_w if to_gy is None else to_gy.add_(along_w)
        if vb is not None:
            vb = vb.view(1, -1, 1, 1)
            to_gy = vb.expand_as(gy) if to_gy is None else to_gy.add_(vb)
        # <gy, vx * w + x * vw> for x and w: what a convolution of vx with vw would give back
        mask = [vw is not None and ctx.needs_input_grad[1], vx is not None, False]
        if any(mask):
            a, b = x if vx is None else vx, w if vw is None else vw
            to_x, to_w, _ = convolution_gradients(gy, a, b, ctx.geometry, mask)
        return to_gy, to_x, to_w, None, None


class _Standardise(Function):
    """y = g (x - mean(x)) / sqrt(var(x) + eps) over the last dimension of x (1, rows, entries), with g (rows,)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor, eps: float) -> Tensor:
        y, mean, r = torch.ops.aten.native_batch_norm(x, g, None, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, g, mean, r)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (*_StandardiseBackward.apply(grads[0], *ctx.saved_tensors, ctx.eps), None)


class _StandardiseBackward(Function):
    """The gradients of <gy, y> for x and g, where z is x standardised and r the factor that did it.

    With P(a) = a - mean(a) - z mean(a z), which is its own adjoint, they are g r P(gy) and sum(gy z).
    """

    @staticmethod
    def forward(ctx: Any, gy: Tensor, x: Tensor, g: Tensor, mean: Tensor, r: Tensor, eps: float) -> Any:
        ctx.save_for_backward(gy, x, g, mean, r)
        return torch.ops.aten.native_batch_norm_backward(gy, x, g, None, None, mean, r, True, eps, [True, True, False])[
            :2
        ]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator's type
        gy, x, g, mean, r = (v.squeeze(0) if v.ndim == 3 else v.unsqueeze(1) for v in ctx.saved_tensors)
        vx, vg = grads[0].squeeze(0), grads[1].unsqueeze(1)
        to_gy, to_x, to_g = torch.empty_like(gy), torch.empty_like(x), torch.empty_like(g)
        for at in _blocks(x):
            one = _standardise_second(gy[at], (x[at] - mean[at]).mul_(r[at]), g[at], r[at], vx[at], vg[at])
            to_gy[at], to_x[at], to_g[at] = one
        return to_gy.unsqueeze(0), to_x.unsqueeze(0), to_g.squeeze(1), None, None, None


def _blocks(x: Tensor) -> list[slice]:
    """Return the rows in blocks: on a CPU so many that a pass over a block finds it in the cache."""
    rows = len(x) if x.device.type != "cpu" else max(1, CACHED // x.shape[1])
    return [slice(start, start + rows) for start in range(0, len(x), rows)]


def _standardise_second(
    gy: Tensor, z: Tensor, g: Tensor, r: Tensor, vx: Tensor, vg: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of <vx, g r P(gy)> + <vg, sum(gy z)> for gy, x and g."""
    entries = z.shape[1]
    gy_mean, vx_mean = gy.mean(1, keepdim=True), vx.mean(1, keepdim=True)
    gy_along, vx_along = _dot(gy, z) / entries, _dot(vx, z) / entries
    inner = _dot(vx, gy) - entries * (vx_mean * gy_mean + vx_along * gy_along)
    gr = g * r
    left = vg - gr * vx_along
    to_gy = torch.addcmul(left * z - gr * vx_mean, gr, vx)
    # through z, and through r, which z holds too
    to_z = torch.addcmul(left * gy, gr * gy_along, vx, value=-1)
    z_mean, z_along = to_z.mean(1, keepdim=True), _dot(to_z, z) / entries
    to_x = to_z.sub_(z_mean).addcmul_(-z_along - gr * inner / entries, z).mul_(r)
    return to_gy, to_x, r * inner


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of every row, (rows, 1)."""
    return torch.linalg.vecdot(a, b, dim=1).unsqueeze(1)


class _Normalise(Function):
    """y = g (x - mean) / sqrt(var + eps) + b by channel, with fixed statistics."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor, b: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, g, mean, var)
        ctx.eps = eps
        return torch.ops.aten.native_batch_norm(x, g, b, mean, var, False, 0.0, eps)[0]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (*_NormaliseBackward.apply(grads[0], *ctx.saved_tensors, ctx.eps), None, None, None)


class _NormaliseBackward(Function):
    """The gradients of <gy, y> for x, g and b."""

    @staticmethod
    def forward(ctx: Any, gy: Tensor, x: Tensor, g: Tensor, mean: Tensor, var: Tensor, eps: float) -> Any:
        ctx.save_for_backward(gy, x, g, mean, var)
        ctx.eps = eps
        return _normalise_backward(gy, x, g, mean, var, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator's type
        gy, x, g, mean, var = ctx.saved_tensors
        vx, vg, vb = grads
        r = (var + ctx.eps).rsqrt()

        def by_channel(v: Tensor) -> Tensor:
            return v.view(1, -1, *[1] * (x.ndim - 2))

        to_gy = torch.addcmul(by_channel(vb - mean * r * vg), x, by_channel(r * vg)).addcmul_(vx, by_channel(r * g))
        # <gy, vg (x - mean) r + vx g r> for x and g: what normalising vx by vg would give back
        to_x, to_g, _ = _normalise_backward(gy, vx, vg, torch.zeros_like(mean), var, ctx.eps)
        return to_gy, to_x, to_g, None, None, None


def _normalise_backward(gy: Tensor, x: Tensor, g: Tensor, mean: Tensor, var: Tensor, eps: float) -> Any:
    return torch.ops.aten.native_batch_norm_backward(gy, x, g, mean, var, None, None, False, eps, [True, True, True])


def _conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    if isinstance(padding, str):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    if torch.is_autocast_enabled(input.device.type):
        # here, because what a function saves must be what it multiplied
        dtype = torch.get_autocast_dtype(input.device.type)
        input, weight, bias = (None if v is None else v.to(dtype) for v in (input, weight, bias))
    geometry = Geometry(_pair(stride), _pair(padding), _pair(dilation), groups)
    return _Convolution.apply(input, weight, bias, geometry)  # pyright: ignore[reportReturnType]


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    fixed = not training and running_mean is not None and running_var is not None
    if fixed and weight is not None and bias is not None:
        return _Normalise.apply(input, weight, bias, running_mean, running_var, eps)  # pyright: ignore[reportReturnType]
    rows = training and input.ndim == 3 and len(input) == 1  # weights, one row for each of a convolution's outputs
    if rows and running_mean is None and weight is not None and bias is None:
        return _Standardise.apply(input, weight, eps)  # pyright: ignore[reportReturnType]
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def _folded(x: Tensor, w: Tensor, gain: Tensor, shift: Tensor, folding: Folding) -> Tensor:
    if torch.is_autocast_enabled(x.device.type):
        return composed_convolution(x, w, gain, shift, folding, _conv2d)
    return folded_convolution(x, w, gain, shift, folding)


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


_FAST: Swapped = {F.conv2d: _conv2d, F.batch_norm: _batch_norm, folded_convolution: _folded}


class SecondOrderLayers(DifferentiableLayers):
    """A context in which models call the convolutions and normalisations of this module.

    Layers that could not be differentiated twice at all are exchanged too (`differentiable.TWICE`).

    Example:
        >>> with SecondOrderLayers():
        ...     value = torch.nn.Conv2d(1, 1, 1)(torch.ones(1, 1, 1, 1)).sum()
        >>> value.requires_grad
        True
    """

    def __init__(self) -> None:
        """Exchange them."""
        super().__init__({**TWICE, **_FAST})
