"""Image files as pixels, in the order that the caller gives."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pairstill.data.images import decode_rgb
from pairstill.errors import DataError


def read_image(path: Path, size: int) -> Tensor:
    """Return one image as uint8 RGB of shape (3, size, size), resized bicubically; the aspect ratio is not kept.

    Raises:
        DataError: the file is missing or does not decode.
    """
    try:
        image = decode_rgb(path.read_bytes())
    except OSError as error:
        raise DataError(f"image {path} cannot be read ({error}); build the manifest again") from error
    except DataError as error:
        raise DataError(f"image {path} {error}; build the manifest again") from error
    image = image.resize((size, size), Image.Resampling.BICUBIC)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.reshape(size, size, 3).permute(2, 0, 1).contiguous()


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (images / 255 - mean) / std per channel, as float32.

    Args:
        images: uint8 of shape (..., 3, height, width), or floats of that shape that already lie in [0, 1] (such as
            `TeacherAugmentation` returns), which are not divided.
        mean: one value per channel, in units of [0, 1].
        std: one value above 0 per channel, in units of [0, 1].

    Example:
        >>> normalise(torch.full((3, 1, 1), 255, dtype=torch.uint8), [0.5] * 3, [0.25] * 3).flatten()
        tensor([2., 2., 2.])
    """
    unit = images if images.is_floating_point() else images.float() / 255
    shape = (3, 1, 1)
    centre = torch.tensor(mean, dtype=torch.float32, device=images.device).reshape(shape)
    scale = torch.tensor(std, dtype=torch.float32, device=images.device).reshape(shape)
    return (unit.float() - centre) / scale


def read_images(paths: Sequence[Path], size: int) -> Tensor:
    """Return images in order, as uint8 of shape (images, 3, size, size).

    They are decoded in threads, since decoding leaves Python's lock.

    Raises:
        DataError: a file is missing or does not decode; the message names it.
    """
    if not paths:
        return torch.empty(0, 3, size, size, dtype=torch.uint8)
    with ThreadPoolExecutor() as pool:
        return torch.stack(list(pool.map(partial(read_image, size=size), paths)))
