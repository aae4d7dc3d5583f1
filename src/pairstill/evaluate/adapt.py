"""A distilled set as other encoders need it: images resized and normalised anew, text embeddings mapped."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.data.loader import normalise
from pairstill.distilled import DistilledSet
from pairstill.encoders.image import ImageSpec
from pairstill.encoders.text import TextSpec
from pairstill.errors import ConfigError
from pairstill.evaluate.text_map import TextMap


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
    def of_set(cls, distilled: DistilledSet) -> "PixelSpace":
        """Return the space of a distilled set's images."""
        encoder = distilled.image_encoder
        return cls(distilled.phases[0].images.shape[-1], tuple(encoder["mean"]), tuple(encoder["std"]))

    @classmethod
    def of_encoder(cls, spec: ImageSpec) -> "PixelSpace":
        """Return the space that an image tower expects."""
        return cls(spec.size, spec.mean, spec.std)


def adapt_images(images: Tensor, source: PixelSpace, target: PixelSpace) -> Tensor:
    """Return images of one space in another: denormalised, resized (bicubic, antialiased), normalised.

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
    return normalise(unit, target.mean, target.std)


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)


def has_own_images(distilled: DistilledSet, spec: ImageSpec) -> bool:
    """Return whether an image tower is the one that the set was made with: weights, size and normalisation."""
    own = distilled.image_encoder
    return own["digest"] == spec.digest and PixelSpace.of_set(distilled) == PixelSpace.of_encoder(spec)


def has_own_texts(distilled: DistilledSet, spec: TextSpec) -> bool:
    """Return whether a text tower is the one that the set was made with: weights, pooling and length."""
    own, asked = distilled.text_encoder, spec.to_json()
    return all(own[key] == asked[key] for key in ("digest", "pooling", "max_tokens", "width"))


def check_width(distilled: DistilledSet, spec: TextSpec) -> None:
    """Check that a text tower's embeddings are as wide as the set's.

    Raises:
        ConfigError: they are not; the message says which fit.
    """
    own = distilled.phases[0].text_embeddings.shape[1]
    if own != spec.width:
        raise ConfigError(
            f"the pairs' text embeddings are those of {distilled.text_encoder['name']}, of width {own}, but "
            f"{spec.name} has width {spec.width}: text encoders of width {own} fit; for others add --map-text, which "
            "maps the embeddings by a ridge regression on the real training captions"
        )


def adapted_set(
    distilled: DistilledSet, image: ImageSpec, text: TextSpec, text_map: TextMap | None = None
) -> DistilledSet:
    """Return a distilled set for other encoders; similarities and rates stay.

    Args:
        distilled: the set.
        image: the image tower that will see it.
        text: the text tower that will see it.
        text_map: maps the set's embeddings into the text tower's space, or None where they are taken as they are.

    Raises:
        ConfigError: without a map, the widths differ.
    """
    if text_map is None:
        check_width(distilled, text)
    source, target = PixelSpace.of_set(distilled), PixelSpace.of_encoder(image)
    phases = tuple(
        replace(
            phase,
            images=adapt_images(phase.images, source, target),
            text_embeddings=phase.text_embeddings if text_map is None else text_map(phase.text_embeddings),
        )
        for phase in distilled.phases
    )
    return replace(distilled, phases=phases, image_encoder=image.to_json(), text_encoder=text.to_json())
