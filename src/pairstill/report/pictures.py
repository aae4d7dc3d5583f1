"""Images inside a page: small pictures as data URIs, differences, and matrices as colours."""

import base64
import io
import math
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor

EXACT_SIDE = 64
"""Pictures up to this many pixels wide are kept exactly; of larger ones nobody sees what compression takes."""
QUALITY = 75
BEYOND = 0.005
"""Share of the off-diagonal similarities that may lie beyond the colours."""
LEAST_CHANGE = 1e-3


@dataclass(frozen=True)
class Heat:
    """A matrix as a picture.

    Attributes:
        picture: data URI, one pixel for each entry.
        limit: the colours reach from minus this to this; entries beyond have the colours of the ends.
    """

    picture: str
    limit: float


def data_uri(pixels: Tensor, side: int) -> str:
    """Return a picture as a WebP data URI.

    Args:
        pixels: uint8 (3, height, width).
        side: larger pictures are scaled down to this width and height.
    """
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    if max(image.size) > side:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    exact = max(image.size) <= EXACT_SIDE
    stream = io.BytesIO()
    image.save(stream, "WEBP", lossless=exact, quality=QUALITY, method=4)
    return _uri("image/webp", stream.getvalue())


def change_gain(before: Tensor, after: Tensor) -> float:
    """Return the factor, at least 1, by which all but the largest hundredth of the changes just fit into a picture.

    Args:
        before: images in [0, 1], (pairs, 3, height, width).
        after: the same images later.
    """
    change = (after.clamp(0, 1) - before).abs().flatten()
    return 1 / min(1.0, max(LEAST_CHANGE, _below(change, 0.99)))


def change_pixels(before: Tensor, after: Tensor, gain: float) -> Tensor:
    """Return changes as uint8: grey where nothing changed, lighter where a channel grew, darker where it fell.

    Args:
        before: images in [0, 1], (..., 3, height, width).
        after: the same images later; what lies outside of [0, 1] cannot be seen and counts as its end.
        gain: what changes are multiplied by.

    Example:
        >>> change_pixels(torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.5, 0.75, 0.0]), 2.0).tolist()
        [128, 191, 0]
    """
    change = (after.clamp(0, 1) - before) * gain / 2
    return ((0.5 + change).clamp(0, 1) * 255).round().to(torch.uint8)


def heat_map(matrix: Tensor) -> Heat:
    """Return a similarity matrix (images, texts) in colours: white at 0, orange above, violet below.

    The colours end where almost all off-diagonal entries do; the diagonal is larger, and would leave them no colour.
    """
    others = matrix[~torch.eye(len(matrix), dtype=torch.bool)].abs()
    limit = _below(others, 1 - BEYOND) or 1.0
    colours = matplotlib.colormaps["PuOr_r"]
    places = ((matrix / limit).clamp(-1, 1) + 1) / 2
    image = Image.fromarray((places * 255).round().to(torch.uint8).numpy()).convert("P")
    image.putpalette((colours(np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8).tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return Heat(_uri("image/png", stream.getvalue()), limit)


def _below(values: Tensor, share: float) -> float:
    """Return the least value that a share of the values does not exceed; 0 without values.

    torch.quantile refuses millions of numbers.
    """
    return float(values.kthvalue(math.ceil(share * len(values))).values) if len(values) else 0.0


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
