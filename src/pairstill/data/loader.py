"""Image files as pixels, in the order that the caller gives."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from pairstill.core.errors import DataError
from pairstill.data.images import decode_rgb

LONGEST = 32
"""How many times its shorter side a photo's longer side counts where only its middle is seen."""
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


@dataclass(frozen=True)
class Resizing:
    """How a photo of any shape becomes a square.

    Attributes:
        kind: `squash` gives up the aspect ratio; `crop` keeps it and cuts the middle out.
        enlarged: for `crop`, the shorter side before the cut, as a multiple of the square's side, 1 or more.
        interpolation: between pixels, one of `INTERPOLATIONS`; always antialiased.
    """

    kind: Literal["squash", "crop"] = "squash"
    enlarged: float = 1.0
    interpolation: str = "bicubic"

    def __call__(self, image: Image.Image, size: int) -> Image.Image:
        """Return the image as a square of `size` x `size`.

        Example:
            >>> Resizing("crop")(Image.new("RGB", (20, 10)), 4).size
            (4, 4)
        """
        resample = INTERPOLATIONS[self.interpolation]
        if self.kind == "squash":
            return image.resize((size, size), resample)
        if max(image.size) > LONGEST * min(image.size):  # a line, resized, would fill the memory
            longest = LONGEST * min(image.size)
            left, top = (max(side - longest, 0) // 2 for side in image.size)
            image = image.crop((left, top, left + min(image.width, longest), top + min(image.height, longest)))
        short = round(size * self.enlarged)
        # whole pixels as Hugging Face's and torchvision's own code count them
        width, height = (short * side // min(image.size) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        return image.resize((width, height), resample).crop((left, top, left + size, top + size))


SQUASH = Resizing()
"""What images are made square with, unless a tower has a way of its own."""


def read_image(path: Path, size: int, resizing: Resizing = SQUASH, *, background: str = "white") -> Tensor:
    """Return one image as uint8 RGB of shape (3, size, size).

    Args:
        path: the image file.
        size: side of the square, in pixels.
        resizing: how the photo becomes a square.
        background: what shows through transparent pixels, as `data.background` has it.

    Raises:
        DataError: the file is missing or does not decode.
    """
    try:
        return picture(path.read_bytes(), size, resizing, background=background)
    except OSError as error:
        raise DataError(f"image {path} cannot be read ({error}); build the manifest again") from error
    except DataError as error:
        raise DataError(f"image {path} {error}; build the manifest again") from error


def picture(content: bytes, size: int, resizing: Resizing = SQUASH, *, background: str = "white") -> Tensor:
    """Return the content of an image file as `read_image` does, uint8 (3, size, size).

    Raises:
        DataError: it does not decode; the message goes on from the image's name.
    """
    image = resizing(decode_rgb(content, background=background), size)
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


def read_images(paths: Sequence[Path], size: int, resizing: Resizing = SQUASH, *, background: str = "white") -> Tensor:
    """Return images in order, as uint8 of shape (images, 3, size, size).

    They are decoded in threads, since decoding leaves Python's lock.

    Raises:
        DataError: a file is missing or does not decode; the message names it.
    """
    if not paths:
        return torch.empty(0, 3, size, size, dtype=torch.uint8)
    with ThreadPoolExecutor() as pool:
        read = partial(read_image, size=size, resizing=resizing, background=background)
        return torch.stack(list(pool.map(read, paths)))
