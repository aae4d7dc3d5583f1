"""Distilled images as PNG, which clips them to [0, 1] and rounds them to 8 bits, and what that costs."""

import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import mean, stdev
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pairstill.data.loader import normalise
from pairstill.distilled import DistilledSet
from pairstill.exchange.rows import PairRow


@dataclass(frozen=True)
class PngCost:
    """What students lose on images that went through PNG; everything else stays exact.

    Attributes:
        protocol: the protocol that both were measured under.
        exact: mean recall of each student on the exact tensors, in percent.
        png: mean recall of the same students on the images that went through PNG.
    """

    protocol: str
    exact: tuple[float, ...]
    png: tuple[float, ...]

    @property
    def loss(self) -> float:
        """Mean recall that is lost, in points; negative if PNG is better."""
        return mean(a - b for a, b in zip(self.exact, self.png, strict=True))

    @property
    def spread(self) -> float | None:
        """Standard deviation of the loss over students, or None for a single one."""
        losses = [a - b for a, b in zip(self.exact, self.png, strict=True)]
        return stdev(losses) if len(losses) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return json_values(asdict(self))

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "PngCost":
        """Return what `to_json` gave."""
        return PngCost(str(content["protocol"]), tuple(content["exact"]), tuple(content["png"]))


def json_values(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with tuples as lists, as JSON reads them back."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def to_pixels(images: Tensor, encoder: Mapping[str, Any]) -> Tensor:
    """Return images (..., 3, height, width) of the normalised space in [0, 1], unclipped: x std + mean.

    Args:
        images: in the input space of the tower.
        encoder: the tower's specification, with `mean` and `std` per channel.
    """
    centre, scale = (torch.tensor(encoder[name], dtype=torch.float32).reshape(3, 1, 1) for name in ("mean", "std"))
    return images * scale + centre


def to_bytes(images: Tensor, encoder: Mapping[str, Any]) -> Tensor:
    """Return images as uint8, clipped to [0, 1] and rounded to the nearest of 256 values."""
    return (to_pixels(images, encoder).clamp(0, 1) * 255).round().to(torch.uint8)


def png(image: Tensor, encoder: Mapping[str, Any]) -> bytes:
    """Return one image (3, height, width) as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(to_bytes(image, encoder).permute(1, 2, 0).contiguous().numpy()).save(stream, "PNG")
    return stream.getvalue()


def picture_file(row: PairRow, encoder: Mapping[str, Any]) -> bytes:
    """Return the file of a pair's picture: its photo, if that is kept, or its pixels as PNG."""
    return row.photo or png(row.tensors["pixels"], encoder)


def through_png(distilled: DistilledSet) -> DistilledSet:
    """Return the set with the images that a reader of its PNG files gets; all else is as it was."""
    return through_files(distilled, lambda images: to_bytes(images, distilled.image_encoder))


def through_files(distilled: DistilledSet, read: Callable[[Tensor], Tensor]) -> DistilledSet:
    """Return the set with the images that a reader of its files gets; photos that are kept are as they were.

    Args:
        distilled: the set.
        read: what files of images (images, 3, height, width) hold, as uint8 of the same shape.
    """
    encoder = distilled.image_encoder
    phases = tuple(
        phase if phase.photos else replace(phase, images=normalise(read(phase.images), encoder["mean"], encoder["std"]))
        for phase in distilled.phases
    )
    return replace(distilled, phases=phases)


def clipped_share(distilled: DistilledSet) -> float:
    """Return the share of image values outside of [0, 1], which PNG clips."""
    outside, total = 0, 0
    for phase in distilled.phases:
        unit = to_pixels(phase.images, distilled.image_encoder)
        outside += int(((unit < 0) | (unit > 1)).sum())
        total += unit.numel()
    return outside / total
