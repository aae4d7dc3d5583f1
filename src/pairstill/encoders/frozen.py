"""A frozen tower, made lean: batch normalisation folded into convolutions, activations that keep only their output."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from pairstill.core.errors import ConfigError
from pairstill.core.rng import make_generator
from pairstill.encoders.copies import agree
from pairstill.encoders.image import ImageEncoder
from pairstill.encoders.trained import FOLDING_TOLERANCE


class _Clamp(torch.autograd.Function):
    """Clamp in place. PyTorch's own copies the input for its backward, though the output tells the same."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        x.clamp_(low, high)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        ctx.bounds = low, high
        return x

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (output,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad_outputs[0], output, *ctx.bounds), None, None


class LeanClamp(nn.Module):
    """ReLU6 and its like, in place and without a copy of the input.

    Args:
        low: values below are set to it.
        high: values above are set to it.
    """

    def __init__(self, low: float, high: float) -> None:
        """Keep the bounds."""
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`, clamped in place."""
        return _Clamp.apply(x, self.low, self.high)


def lean_activations(module: nn.Module) -> nn.Module:
    """Replace every in-place ReLU6 by one of the same values and gradient without a copy, and return the module."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Hardtanh) and child.inplace:
            setattr(module, name, LeanClamp(child.min_val, child.max_val))
        else:
            lean_activations(child)
    return module


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Merge every batch-norm layer that follows a convolution into it, in place, and return the module.

    In evaluation mode this computes the same function with fewer operations and less memory. Only for frozen
    towers: the folded weights are not the parameters of the original. "Follows" is read from the order in which
    layers are registered; `frozen_tower` checks that it is the order in which they run.
    """
    previous: Any = None
    child: Any  # layers are known by their class only at run time
    for name, child in list(module.named_children()):
        follows = isinstance(child, nn.BatchNorm2d) and isinstance(previous, nn.Conv2d)
        if follows and previous.out_channels == child.num_features:  # in Xception41p it is another convolution's
            _fold(previous, child)
            # timm's BatchNormAct2d also applies dropout and the activation; the activation must stay
            setattr(module, name, getattr(child, "act", nn.Identity()))
        else:
            fold_batch_norm(child)
        previous = child
    return module


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ConfigError("a batch-norm layer of the image tower keeps no statistics; it cannot be frozen")
    weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )
    convolution.weight, convolution.bias = nn.Parameter(weight), nn.Parameter(bias)


def frozen_part(encoder: ImageEncoder, device: torch.device, *, trains: bool) -> nn.Module | None:
    """Return what of the tower is frozen, as `frozen_tower` does; None if all of it trains.

    Args:
        encoder: the tower.
        device: where to.
        trains: whether the tower trains, or its last stages.
    """
    return None if trains and encoder.spec.cut is None else frozen_tower(encoder, device)


def frozen_tower(encoder: ImageEncoder, device: torch.device) -> nn.Module:
    """Return a copy of the tower, or its stem, on `device`, folded where that is exact and without gradients."""
    original = encoder.stem
    folded = fold_batch_norm(copy.deepcopy(original))
    probe = torch.randn(2, 3, encoder.spec.size, encoder.spec.size, generator=make_generator("probe of folding"))
    with torch.no_grad():
        expected, found = original(probe), folded(probe)
    # some towers (RepViT) register a convolution before a batch norm that sees more than its output: not foldable
    exact = agree(found, expected, FOLDING_TOLERANCE)
    tower = lean_activations(folded if exact else copy.deepcopy(original))
    return tower.requires_grad_(False).to(device).to(memory_format=torch.channels_last)
