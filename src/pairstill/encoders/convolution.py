"""Convolutions and their gradients as single operations, for derivatives that are written out."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Geometry(NamedTuple):
    """How a convolution goes over its input; lists are by dimension."""

    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int


def convolve(x: Tensor, w: Tensor, bias: Tensor | None, form: Geometry) -> Tensor:
    """Return x * w + bias, (images, channels, height, width)."""
    stride, padding, dilation, groups = form
    return torch.ops.aten.convolution(x, w, bias, stride, padding, dilation, False, [0, 0], groups)


def convolution_gradients(gy: Tensor, x: Tensor, w: Tensor, form: Geometry, wanted: list[bool]) -> Any:
    """Return the gradients of <gy, x * w + bias> for x, w and the bias; None for those that are not wanted."""
    stride, padding, dilation, groups = form
    biases = [len(w)] if wanted[2] else None
    return torch.ops.aten.convolution_backward(
        gy, x, w, biases, stride, padding, dilation, False, [0, 0], groups, wanted
    )
