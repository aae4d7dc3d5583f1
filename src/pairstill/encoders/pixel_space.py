"""The space that images are in, and the way from one tower's space into another's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairstill.encoders.image import ImageSpec, to_channels_last


@dataclass(frozen=True)
class PixelSpace:
    """What normalised images are in: their size, and the mean and spread that were taken out of pixels in [0, 1].

    Attributes:
        size: side of the square images, in pixels.
        mean: per channel.
        std: per channel, above 0.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of_encoder(cls, spec: ImageSpec) -> "PixelSpace":
        """Return the space that an image tower expects."""
        return cls(spec.size, spec.mean, spec.std)

    @classmethod
    def of_json(cls, encoder: Mapping[str, Any]) -> "PixelSpace":
        """Return the space that an image tower expects, from its specification as JSON values."""
        return cls(encoder["size"], tuple(encoder["mean"]), tuple(encoder["std"]))

    @classmethod
    def common(cls, specs: Sequence[ImageSpec]) -> "PixelSpace":
        """Return the space that images for several towers are stored in: pixels in [0, 1], as large as the largest."""
        return cls(max(spec.size for spec in specs), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def adapt_images(images: Tensor, source: PixelSpace, target: PixelSpace) -> Tensor:
    """Return images of one space in another: denormalised, resized (bicubic, antialiased), normalised; differentiable.

    Distilled pixels may lie outside [0, 1]; they are not clipped, so that the same space changes nothing, to the bit.

    Args:
        images: (pairs, 3, size, size) in the source's space.
        source: where they come from.
        target: where they go.

    Example:
        >>> zero_to_one, around_zero = PixelSpace(1, (0.0,) * 3, (1.0,) * 3), PixelSpace(1, (0.5,) * 3, (0.25,) * 3)
        >>> adapt_images(torch.ones(1, 3, 1, 1), zero_to_one, around_zero).flatten()
        tensor([2., 2., 2.])
    """
    if source == target:
        return images
    unit = images * _channels(source.std, images) + _channels(source.mean, images)
    if source.size != target.size:
        unit = F.interpolate(unit, size=(target.size, target.size), mode="bicubic", antialias=True)
    return (unit - _channels(target.mean, unit)) / _channels(target.std, unit)


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)


class TowerOfSpace(nn.Module):
    """A frozen tower for images of another space than its own, which it takes into its own first.

    Args:
        tower: the tower.
        own: the space that it expects.
        space: the space that its images are in.
    """

    def __init__(self, tower: nn.Module, own: PixelSpace, space: PixelSpace) -> None:
        """Keep the tower, which is shared, and both spaces."""
        super().__init__()
        self.tower, self._own, self._space = tower, own, space

    def forward(self, images: Tensor) -> Tensor:
        """Return the features (images, width) of images (images, 3, size, size)."""
        return self.tower(to_channels_last(adapt_images(images, self._space, self._own)))
