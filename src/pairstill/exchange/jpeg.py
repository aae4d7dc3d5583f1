"""Distilled images as JPEG, which clips them to [0, 1] and loses what eyes miss: a smaller form than PNG."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pairstill.distilled import DistilledSet
from pairstill.exchange.png import through_files, to_bytes


def jpeg(image: Tensor, encoder: Mapping[str, Any], quality: int) -> bytes:
    """Return one image (3, height, width) as a JPEG file, with colours as fine as brightness.

    Args:
        image: in the input space of the tower.
        encoder: the tower's specification, with `mean` and `std` per channel.
        quality: from 1 to 100.
    """
    stream = io.BytesIO()
    pixels = to_bytes(image, encoder).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=0, optimize=True)
    return stream.getvalue()


def through_jpeg(distilled: DistilledSet, quality: int) -> DistilledSet:
    """Return the set with the images that a reader of its JPEG files gets; photos that are kept are as they were."""
    encoder = distilled.image_encoder
    return through_files(
        distilled, lambda images: torch.stack([_read(jpeg(image, encoder, quality)) for image in images])
    )


def _read(file: bytes) -> Tensor:
    """Return the pixels of a file as uint8, (3, height, width)."""
    with Image.open(io.BytesIO(file)) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
