"""Augmentation of the teachers' images."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch import nn

_CROP_SCALE = (0.5, 1.0)
_NUM_STEPS = 2

# RandAugment(2, 5) of the authors draws each of its two steps from ten operations and skips it half of the time. At
# magnitude 5 of 10, three of the ten change nothing: identity, and brightness and sharpness at factor 1.
_STEP_PROBABILITY = 0.5 * 7 / 10
# The other seven, with the magnitude that 10 of 10 would have. kornia's scale ends at 30 and its shear is an angle
# (in units of 180 degrees): half of 0.3 is a shear of 8.5 degrees; half of 10 in 224 pixels is a shift of 2.2 %.
_MAGNITUDE = 15
_POLICY = (
    ("auto_contrast", 0, 1),
    ("equalize", 0, 1),
    ("rotate", -30.0, 30.0),
    ("shear_x", -0.0948, 0.0948),
    ("shear_y", -0.0948, 0.0948),
    ("translate_x", -10 / 224, 10 / 224),
    ("translate_y", -10 / 224, 10 / 224),
)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of the CPU and of the images' GPU inside the block; other GPUs keep theirs."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


class CropAndFlip:
    """Random resized crop (scale 0.5 to 1) and horizontal flip, on batches of normalised pixels of any range.

    What distilled images allow of `TeacherAugmentation`: their pixels leave [0, 1], where its other operations end.

    Example:
        `CropAndFlip()(images, generator("student", 3))` returns images of the same shape.
    """

    def __init__(self) -> None:
        """Build the operations."""
        from kornia.augmentation import RandomHorizontalFlip, RandomResizedCrop

        self._flip = RandomHorizontalFlip(p=0.5)
        self._crop_class = RandomResizedCrop

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return augmented images.

        Args:
            images: floats of shape (batch, 3, height, width), on any device.
            generator: a CPU generator, which moves on by one draw.
        """
        seed = int(torch.randint(2**62, (), generator=generator))
        with _seeded(seed, images.device), torch.no_grad():
            height, width = images.shape[-2:]
            crop = self._crop_class((height, width), scale=_CROP_SCALE, resample="bicubic")
            return self._flip(crop(images))


class TeacherAugmentation:
    """Random resized crop (scale 0.5 to 1), horizontal flip and RandAugment(2, 5), on batches.

    RandAugment has the operations, magnitudes and probabilities of the authors' code, with one departure: the
    operation of a step is drawn once for the batch, and whether an image takes it is drawn for each image.

    kornia draws from torch's global generators. They are forked around each call and seeded from the caller's
    generator, so the result depends on it alone and no other draw of the program is disturbed.

    Example:
        `TeacherAugmentation()(images, generator("teacher", 3))` returns images of the same shape.
    """

    def __init__(self) -> None:
        """Build the operations."""
        # Imported here because kornia takes seconds to load and most runs do not augment.
        from kornia.augmentation import RandomHorizontalFlip, RandomResizedCrop
        from kornia.augmentation.auto import RandAugment

        self._flip = RandomHorizontalFlip(p=0.5)
        self._crop_class = RandomResizedCrop
        self._crops: dict[tuple[int, int], nn.Module] = {}
        self._step = RandAugment(n=1, m=_MAGNITUDE, policy=[[operation] for operation in _POLICY])

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return augmented images.

        Args:
            images: floats in [0, 1] of shape (batch, 3, height, width), on any device.
            generator: a CPU generator, which moves on by one draw.

        Returns:
            Floats in [0, 1] of the same shape and device.

        Raises:
            ValueError: `images` is not a batch of floats with three channels.
        """
        if images.dim() != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"got {images.dtype} of shape {tuple(images.shape)}; augmentation needs floats in [0, 1] of shape "
                "(batch, 3, height, width), so divide uint8 images by 255"
            )
        seed = int(torch.randint(2**62, (), generator=generator))
        with _seeded(seed, images.device), torch.no_grad():
            return self._augment(images)

    def _augment(self, images: Tensor) -> Tensor:
        images = self._flip(self._crop(images.shape[-2], images.shape[-1])(images))
        for _ in range(_NUM_STEPS):
            takes_step = torch.rand(len(images), 1, 1, 1).to(images.device) < _STEP_PROBABILITY
            images = torch.where(takes_step, self._step(images), images)
        # Bicubic interpolation overshoots at edges.
        return images.clamp(0, 1)

    def _crop(self, height: int, width: int) -> "nn.Module":
        if (height, width) not in self._crops:
            self._crops[height, width] = self._crop_class((height, width), scale=_CROP_SCALE, resample="bicubic")
        return self._crops[height, width]
