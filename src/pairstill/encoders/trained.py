"""A tower to be trained, made lean: fixed batch normalisation goes into the convolution before it.

The statistics stay as they are, so that normalising is multiplying the weights by what does not depend on the image.
Parameters keep their names and their meaning: the weights are folded anew whenever the tower is called, and gradients
go through that.
"""

import math
from dataclasses import dataclass

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.padding import pad_same
from torch import Tensor, nn

from pairstill.core.rng import make_generator
from pairstill.encoders.convolution import Geometry
from pairstill.encoders.copies import agree, sharing_copy
from pairstill.encoders.folded import FREE, Bounds, Folding, folded_convolution

FOLDING_TOLERANCE = 1e-3  # of the features' norm: far above float32 rounding, far below a wrong fold


@dataclass(frozen=True)
class _Awaited:
    """A convolution of `x` that the normalisation behind it does."""

    x: Tensor
    convolution: "_Awaiting"


class _Awaiting(nn.Module):
    """A convolution that leaves its work to the normalisation behind it."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self._kernel = convolution.weight, list(convolution.kernel_size)
        self._pads_itself = isinstance(convolution, Conv2dSame)
        self.form = Geometry(
            list(convolution.stride),
            [int(side) for side in convolution.padding],
            list(convolution.dilation),
            convolution.groups,
        )

    def forward(self, x: Tensor) -> _Awaited:
        if self._pads_itself:
            x = pad_same(x, self._kernel, self.form.stride, self.form.dilation)
        return _Awaited(x, self)


class _Folded(nn.Module):
    """A normalisation that does the convolution before it as well, and the clamping behind it."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self._eps = norm.weight, norm.bias, norm.eps
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)
        act = getattr(norm, "act", nn.Identity())  # timm's BatchNormAct2d also applies an activation
        bounds = _bounds(act)
        self.act = act if bounds is None else nn.Identity()
        self._bounds = bounds or FREE

    def forward(self, given: _Awaited) -> Tensor:
        convolution, factor = given.convolution, (self.running_var + self._eps).rsqrt()
        folding = Folding(self.running_mean, factor, convolution.form, self._bounds)
        return self.act(folded_convolution(given.x, convolution.weight, self.weight, self.bias, folding))


def _bounds(act: nn.Module) -> Bounds | None:
    """Return what an activation clamps to, or None if it does something else."""
    match act:
        case nn.Hardtanh():
            return act.min_val, act.max_val
        case nn.ReLU():
            return 0.0, math.inf
        case nn.Identity():
            return FREE
        case _:
            return None


def trained_tower(tower: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Return the tower with every batch norm that follows a convolution folded into it, where that is exact.

    It shares all parameters with the one that is given, under the same names.

    Args:
        tower: the tower in evaluation mode, or its last stages.
        shape: of an image as it takes it, (channels, height, width).
    """
    folded = _fold(sharing_copy(tower))
    if not any(isinstance(layer, _Folded) for layer in folded.modules()):
        return tower
    return folded if _same(tower, folded, shape) else tower


def _fold(module: nn.Module) -> nn.Module:
    previous = ("", module)
    for name, child in list(module.named_children()):
        if _foldable(previous[1], child):
            setattr(module, previous[0], _Awaiting(previous[1]))  # pyright: ignore[reportArgumentType] - which is a convolution
            setattr(module, name, _Folded(child))  # pyright: ignore[reportArgumentType] - which is a normalisation
        else:
            _fold(child)
        previous = (name, child)
    return module


def _foldable(convolution: nn.Module, norm: nn.Module) -> bool:
    if type(convolution) not in (nn.Conv2d, Conv2dSame) or type(norm) not in (nn.BatchNorm2d, BatchNormAct2d):
        return False
    assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    padded = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    plain = convolution.bias is None and padded
    fixed = norm.affine and norm.running_mean is not None and isinstance(getattr(norm, "drop", norm), _WITHOUT_DROPOUT)
    return plain and fixed and convolution.out_channels == norm.num_features


_WITHOUT_DROPOUT = (nn.Identity, nn.BatchNorm2d)


@torch.no_grad()
def _same(tower: nn.Module, folded: nn.Module, shape: tuple[int, ...]) -> bool:
    """Return whether both compute the same; in some towers a batch norm sees more than one convolution's output."""
    some = next(tower.parameters())
    probe = torch.randn(2, *shape, generator=make_generator("probe of folding")).to(some)
    try:
        found = folded(probe)
    except Exception:  # something else took the convolution that waits; each tower says so in its own way
        return False
    return agree(found, tower(probe), FOLDING_TOLERANCE)
