"""Image files as batches of pixels, in an order that the caller gives."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

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


class ImageBatches(Dataset[Tensor]):
    """Images by index, for a `DataLoader` with an explicit `batch_sampler`.

    Args:
        paths: the image files.
        size: side of the square images, in pixels.

    Example:
        `DataLoader(ImageBatches(paths, 224), batch_sampler=[[2, 0], [1, 3]])` yields two uint8 batches of shape
        (2, 3, 224, 224), of exactly these images.
    """

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        """Keep the paths; nothing is read yet."""
        self.paths = tuple(paths)
        self.size = size

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        """Return image `index` as uint8 of shape (3, size, size)."""
        return read_image(self.paths[index], self.size)


def iterate_images(paths: Sequence[Path], size: int, batch_size: int, workers: int = 0) -> Iterator[Tensor]:
    """Yield the images in order, as uint8 batches of shape (batch, 3, size, size); the last may be smaller.

    Args:
        paths: the image files.
        size: side of the square images, in pixels.
        batch_size: images in a batch, at least 1.
        workers: threads that decode, one batch ahead; 0 decodes in this one. (Decoding leaves Python's lock, and
            threads need no copies of the batches, so processes would gain nothing.)

    Raises:
        DataError: a file is missing or does not decode; the message names it.
    """
    batches = (paths[first : first + batch_size] for first in range(0, len(paths), batch_size))
    if workers == 0:
        for batch in batches:
            yield torch.stack([read_image(path, size) for path in batch])
        return
    with ThreadPoolExecutor(max_workers=workers) as pool:
        ahead: deque[list[Future[Tensor]]] = deque()
        for batch in batches:
            ahead.append([pool.submit(read_image, path, size) for path in batch])
            if len(ahead) == 2:
                yield torch.stack([image.result() for image in ahead.popleft()])
        for decoding in ahead:
            yield torch.stack([image.result() for image in decoding])
