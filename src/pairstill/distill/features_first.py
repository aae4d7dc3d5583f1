"""Pixels whose features behind frozen towers are given ones: the second part of a warm start."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import Tensor, nn

from pairstill.config import FeaturesFirstConfig, OuterConfig
from pairstill.core.errors import NumericalError
from pairstill.encoders.image import to_channels_last
from pairstill.events import Emit, InversionEnded, InversionStep, silent

CHUNK = 50


@dataclass(frozen=True)
class FeatureRange:
    """What a frozen tower makes of real images, dimension by dimension: a box around its features.

    A tower that ends in ReLU6 and pooling has no features below 0 or above 6, but a distillation that is free to
    choose takes them; no image has them then, and what it learned is lost when pixels are found.

    Attributes:
        lower: the least value of each feature, (width,).
        upper: the largest, (width,).
    """

    lower: Tensor
    upper: Tensor

    @classmethod
    def of(cls, batches: Iterable[Tensor]) -> "FeatureRange":
        """Return the range of features that come in batches (images, width), at least one.

        Example:
            >>> FeatureRange.of([torch.tensor([[0.0, 5.0], [1.0, 2.0]]), torch.tensor([[3.0, 4.0]])]).upper.tolist()
            [3.0, 5.0]
        """
        lowest, highest = zip(*((batch.amin(0), batch.amax(0)) for batch in batches), strict=True)
        return cls(torch.stack(lowest).amin(0), torch.stack(highest).amax(0))

    def clamp_(self, features: Tensor) -> None:
        """Move features (pairs, width) to the nearest ones in the range, in place and without a graph."""
        with torch.no_grad():
            features.clamp_(self.lower.to(features), self.upper.to(features))


def outer_on_features(outer: OuterConfig, config: FeaturesFirstConfig, features: Tensor) -> OuterConfig:
    """Return the outer optimiser's settings for steps on features, whose rate is relative whatever `rate_unit` is.

    Args:
        outer: the settings for pixels.
        config: the rate, in units of the features' standard deviation.
        features: where the steps start from, (pairs, width).
    """
    unit = float(features.std()) if outer.rate_unit == "absolute" else 1.0
    return replace(outer, lr_images=config.lr_features * unit)


def features_of(tower: nn.Module, images: Tensor) -> Tensor:
    """Return the tower's features (images, width), without a graph."""
    with torch.no_grad():
        return torch.cat([tower(to_channels_last(chunk)) for chunk in images.split(CHUNK)])


def roughness(images: Tensor) -> Tensor:
    """Return the mean square of the differences between neighbouring pixels of each image, (images,).

    Example:
        >>> roughness(torch.tensor([[[[0.0, 2.0], [0.0, 2.0]]]])).tolist()  # 4 across, 0 down
        [4.0]
    """
    across, down = images.diff(dim=3), images.diff(dim=2)
    return across.square().mean((1, 2, 3)) + down.square().mean((1, 2, 3))


def invert_features(
    towers: Sequence[nn.Module],
    images: Tensor,
    features: Sequence[Tensor],
    config: FeaturesFirstConfig,
    phase: int = 1,
    emit: Emit = silent,
    *,
    chunk: int = CHUNK,
) -> Tensor:
    """Return images whose features are near the given ones, for all towers at once, and which change smoothly.

    Minimises mean_m |f_m(x) - features_m|^2 / |features_m|^2 + smoothness x roughness(x - images) for each image by
    itself.

    Args:
        towers: the frozen towers f_m, which take images of the same space.
        images: where to start from, pixels of that space (images, 3, size, size); not changed.
        features: the wanted features (images, width) of each tower.
        config: steps, rate and smoothness.
        phase: number of the phase, which the events have.
        emit: told of every step, and of how near all came in the end.
        chunk: images that are found at a time.

    Raises:
        NumericalError: a pixel is not finite.
    """
    found, errors, last = list[Tensor](), list[float](), 0.0
    chunks = list(zip(images.split(chunk), *(wanted.split(chunk) for wanted in features), strict=True))
    rate = config.lr_pixels * float(images.std())
    for number, (start, *wanted) in enumerate(chunks):
        x = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([x], rate)
        for step in range(1, config.inversion_steps + 1):
            seen = to_channels_last(x)
            error = _mean([_error(tower(seen), goal) for tower, goal in zip(towers, wanted, strict=True)])
            value = (error + config.smoothness * roughness(x - start)).sum()
            (x.grad,) = torch.autograd.grad(value, [x])
            optimizer.step()
            done, steps = number * config.inversion_steps + step, len(chunks) * config.inversion_steps
            last = float(error.detach().mean())
            emit(InversionStep(phase=phase, step=done, steps=steps, error=last))
        if not bool(x.isfinite().all()):
            raise NumericalError(
                "a pixel that was to have given features is not finite; lower features_first.lr_pixels"
            )
        found.append(x.detach())
        errors.append(last)
    emit(InversionEnded(phase=phase, relative_square_error=fmean(errors)))
    return torch.cat(found)


def _error(features: Tensor, wanted: Tensor) -> Tensor:
    """Return the relative square error of each image's features, (images,)."""
    return (features - wanted).square().sum(1) / wanted.square().sum(1)


def _mean(errors: Sequence[Tensor]) -> Tensor:
    return errors[0] if len(errors) == 1 else torch.stack(list(errors)).mean(0)
