r"""A convolution with folded batch normalisation and clamping, whose derivatives cost what they must.

With s = gain factor by channel, m the mean and z = x * (s w) + shift - s m, the output is y = clamp(z). All that the
gradients need of the clamping is where y lies between the bounds, which y tells. Written out, a second derivative is
two convolutions, one convolution backward and passes over the weights: none over the images for the normalisation.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.overrides import handle_torch_function, has_torch_function

from pairstill.encoders.convolution import Geometry, convolution_gradients, convolve

Bounds = tuple[float, float]
FREE: Bounds = (-math.inf, math.inf)
"""No bounds."""


@dataclass(frozen=True)
class Folding:
    """What a convolution that is normalised and clamped does beside its parameters.

    Attributes:
        mean: what the normalisation takes away, by channel.
        factor: what it multiplies by, one over the standard deviation, by channel.
        form: how the convolution goes over its input.
        bounds: what its output is clamped to.
    """

    mean: Tensor
    factor: Tensor
    form: Geometry
    bounds: Bounds


def folded_convolution(x: Tensor, w: Tensor, gain: Tensor, shift: Tensor, folding: Folding) -> Tensor:
    """Return clamp(gain factor (x * w - mean) + shift), (images, channels out, height, width).

    It can be differentiated twice, and carries no tangents.

    Args:
        x: (images, channels in, height, width).
        w: (channels out, channels in / groups, height, width).
        gain: the normalisation's, (channels out,).
        shift: likewise.
        folding: all else.
    """
    if has_torch_function((x, w, gain, shift)):  # as PyTorch's own functions, it can be exchanged for another
        return handle_torch_function(folded_convolution, (x, w, gain, shift), x, w, gain, shift, folding)
    if torch.is_autocast_enabled(x.device.type):  # knows PyTorch's own functions alone
        return composed_convolution(x, w, gain, shift, folding)
    return _Folded.apply(x, w, gain, shift, folding)  # pyright: ignore[reportReturnType]


def composed_convolution(
    x: Tensor, w: Tensor, gain: Tensor, shift: Tensor, folding: Folding, convolution: Any = F.conv2d
) -> Tensor:
    """Return the same, made of PyTorch's own functions, one of which may be exchanged."""
    scale = gain * folding.factor
    y = convolution(x, w * _rows(scale), shift - folding.mean * scale, *folding.form)
    return y if folding.bounds == FREE else y.clamp(*folding.bounds)


class _Folded(Function):
    """y of (x, w, gain, shift, folding)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, gain: Tensor, shift: Tensor, folding: Folding) -> Tensor:
        s = gain * folding.factor
        sw = w * _rows(s)
        y = convolve(x, sw, shift - folding.mean * s, folding.form)
        bounded = folding.bounds != FREE
        ctx.save_for_backward(x, w, gain, sw, y.clamp_(*folding.bounds) if bounded else None)
        ctx.folding = folding
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, w, gain, sw, y = ctx.saved_tensors
        given = (grads[0], x, w, gain, sw, None if y is None else y.detach())
        return (*_Backward.apply(*given, ctx.folding, ctx.needs_input_grad[0]), None)


class _Backward(Function):
    """The gradients of <gy, y> for x, w, gain and shift."""

    @staticmethod
    def forward(
        ctx: Any, gy: Tensor, x: Tensor, w: Tensor, gain: Tensor, sw: Tensor, y: Tensor | None, *rest: Any
    ) -> Any:
        folding, to_x = rest
        s = gain * folding.factor
        gz = _inside(gy, y, folding)
        gx, g_sw, g_shift = convolution_gradients(gz, x, sw, folding.form, [to_x, True, True])
        ctx.save_for_backward(gz, x, w, sw, s, g_sw, y)
        ctx.folding = folding
        ctx.set_materialize_grads(False)
        return gx, g_sw * _rows(s), (_dot(g_sw, w) - g_shift * folding.mean) * folding.factor, g_shift

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator's type
        gz, x, w, sw, s, g_sw, y = ctx.saved_tensors
        folding, form = ctx.folding, ctx.folding.form
        vx = grads[0]
        like = (w, s, s)
        vw, v_gain, v_shift = (torch.zeros_like(a) if v is None else v for v, a in zip(grads[1:], like, strict=True))
        # how s, s w and the bias move with w, gain and shift
        vs = v_gain * folding.factor
        v_sw = torch.addcmul(vw * _rows(s), w, _rows(vs))
        to_gz = convolve(x, v_sw, v_shift - folding.mean * vs, form)
        if vx is not None:
            to_gz += convolve(vx, sw, None, form)
        wanted = [ctx.needs_input_grad[1], vx is not None, False]
        to_x, to_sw, _ = convolution_gradients(gz, x if vx is None else vx, v_sw, form, wanted)
        to_w, to_s = g_sw * _rows(vs), _dot(g_sw, vw)
        if vx is not None:
            to_w.addcmul_(to_sw, _rows(s))
            to_s += _dot(to_sw, w)
        return _inside(to_gz, y, folding), to_x, to_w, to_s * folding.factor, None, None, None, None


def _inside(values: Tensor, y: Tensor | None, folding: Folding) -> Tensor:
    """Return the values where y lies between the bounds, and 0 where it was clamped to one; all without bounds."""
    low, high = folding.bounds
    if y is None:
        return values
    if math.isinf(high):
        return torch.ops.aten.threshold_backward(values, y, low)
    return torch.ops.aten.hardtanh_backward(values, y, low, high)


def _rows(channels: Tensor) -> Tensor:
    return channels.view(-1, 1, 1, 1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product by row, (rows,)."""
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1))
