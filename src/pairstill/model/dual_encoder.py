"""Two towers with projection heads into one space, and their parameters as plain dictionaries."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pairstill.config import HeadsConfig, InfoNCE
from pairstill.core.devices import Precision
from pairstill.core.errors import ConfigError
from pairstill.core.rng import seeded_globally
from pairstill.encoders.image import ImageEncoder

Side = Literal["image", "text"]
Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Blend:
    """How the pairs of a mini-batch are mixed (RepBlend, arXiv 2505.14705).

    Attributes:
        share: what stays of each pair, a scalar from 0 to 1; the rest is its partner's.
        partners: the pair that each is mixed with, a permutation (pairs,).
    """

    share: Tensor
    partners: Tensor

    def of(self, rows: Tensor) -> Tensor:
        """Return the mixed rows (pairs, ...).

        Example:
            >>> Blend(torch.tensor(0.75), torch.tensor([1, 0])).of(torch.tensor([[0.0], [4.0]])).tolist()
            [[1.0], [3.0]]
        """
        return self.share * rows + (1 - self.share) * rows[self.partners]


@dataclass(frozen=True)
class DropoutMasks:
    """The randomness inside one mini-batch, drawn beforehand so that every sweep over a step sees the same.

    Attributes:
        image: dropout mask (pairs, width) of 0 and 1/(1-p), or None without an image head.
        text: the same for the text head.
        blend: how pairs are mixed before the model sees them, or None.
    """

    image: Tensor | None
    text: Tensor | None
    blend: Blend | None = None


class LinearHead(nn.Module):
    """One linear map."""

    def __init__(self, width_in: int, width: int) -> None:
        """Map `width_in` to `width`."""
        super().__init__()
        self.project = nn.Linear(width_in, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return (pairs, width); a linear head has no dropout."""
        return self.project(x)


class ResidualHead(nn.Module):
    """h = W1 x; LayerNorm(h + Dropout(W2 GELU(h))), as in the paper's code."""

    def __init__(self, width_in: int, width: int) -> None:
        """Map `width_in` to `width`."""
        super().__init__()
        self.project = nn.Linear(width_in, width)
        self.mix = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return (pairs, width); `mask` (pairs, width) is the scaled dropout mask, None switches dropout off."""
        h = self.project(x)
        update = self.mix(F.gelu(h))
        return self.norm(h + (update if mask is None else update * mask))


class DualEncoder(nn.Module):
    """Image side and text side into one space.

    The image side is the tower (when it is trained) followed by a head (when there is one); with a frozen tower
    its input is the tower's features. The text side is a head on frozen text embeddings.
    """

    def __init__(
        self,
        tower: nn.Module | None,
        image_head: nn.Module | None,
        text_head: nn.Module,
        precision: Precision = "float32",
        info_nce: InfoNCE = "mean",
    ) -> None:
        """Put the parts together; the tower and the head are None where they are absent."""
        super().__init__()
        self.precision: Precision = precision
        self.info_nce: InfoNCE = info_nce
        self.image_tower = tower
        self.image_head = image_head
        self.text_head = text_head

    def forward(
        self, images: Tensor | None, texts: Tensor | None, masks: DropoutMasks | None = None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return embeddings (pairs, width) of both sides.

        Args:
            images: pixels, or features when the tower is frozen; None leaves this side out.
            texts: text embeddings; None leaves this side out.
            masks: dropout masks; None switches dropout off.
        """
        masks = masks or DropoutMasks(None, None)
        return (
            None if images is None else self._embed_images(images, masks.image),
            None if texts is None else self.text_head(texts, masks.text),
        )

    def _embed_images(self, images: Tensor, mask: Tensor | None) -> Tensor:
        x = images if self.image_tower is None else self._through_tower(self.image_tower, images)
        return x if self.image_head is None else self.image_head(x, mask)

    def _through_tower(self, tower: nn.Module, images: Tensor) -> Tensor:
        if self.precision != "bfloat16":
            return tower(images)
        # without the cache, which would tie the graphs of different sweeps together
        with torch.autocast(images.device.type, torch.bfloat16, cache_enabled=False):
            return tower(images).float()


@dataclass(frozen=True)
class ModelFactory:
    """Builds the dual encoder and its initial parameters; every call with the same seed gives the same values.

    Attributes:
        encoder: the image tower and its specification.
        trainable: whether the tower is part of the model.
        text_width: width of the text embeddings.
        heads: the projection heads.
        device: where parameters live.
        precision: what a trained tower multiplies in.
        info_nce: how the model's InfoNCE puts its two directions together.
    """

    encoder: ImageEncoder
    trainable: bool
    text_width: int
    heads: HeadsConfig
    device: torch.device
    precision: Precision = "float32"
    info_nce: InfoNCE = "mean"

    @property
    def width(self) -> int:
        """Width of the shared space."""
        if self.heads.image:
            assert self.heads.width is not None
            return self.heads.width
        if self.heads.width is not None and self.heads.width != self.encoder.spec.width:
            raise ConfigError(
                f"heads.width is {self.heads.width} but without an image head the shared space has the image tower's "
                f"width {self.encoder.spec.width}; leave heads.width out or turn heads.image on"
            )
        return self.encoder.spec.width

    @property
    def only_linear_heads(self) -> bool:
        """Whether nothing but linear maps of fixed features is trained."""
        return not self.trainable and self.heads.kind == "linear"

    def build(self) -> DualEncoder:
        """Build the model in evaluation mode; its heads' own values do not matter, parameters are always passed in."""
        make = LinearHead if self.heads.kind == "linear" else ResidualHead
        with torch.random.fork_rng(devices=[]):  # what draws them is not the program's own generator
            model = DualEncoder(
                self.encoder.trained if self.trainable else None,
                make(self.encoder.spec.width, self.width) if self.heads.image else None,
                make(self.text_width, self.width),
                self.precision,
                self.info_nce,
            )
        return model.eval().to(self.device).requires_grad_(False)

    def initial_parameters(self, *seed: int | str) -> Parameters:
        """Return initial parameters: the tower as it is (shared), the heads freshly drawn from `seed`."""
        with seeded_globally("heads", *seed):
            model = self.build()
        return {name: value.detach().clone() for name, value in model.named_parameters()}

    def draw_masks(self, pairs: int, generator: torch.Generator) -> DropoutMasks | None:
        """Draw dropout masks for a mini-batch; None when the heads have no dropout."""
        p = self.heads.dropout
        if self.heads.kind == "linear" or p == 0:
            return None

        def mask() -> Tensor:
            kept = torch.rand(pairs, self.width, generator=generator) >= p
            return (kept / (1 - p)).to(self.device)

        return DropoutMasks(mask() if self.heads.image else None, mask())


def side_of(name: str) -> Side:
    """Return the side that a parameter belongs to, by its name."""
    return "text" if name.startswith("text_") else "image"


def split_sides(parameters: Parameters) -> dict[Side, Parameters]:
    """Return the parameters of each side."""
    sides: dict[Side, Parameters] = {"image": {}, "text": {}}
    for name, value in parameters.items():
        sides[side_of(name)][name] = value
    return sides


def count(parameters: Parameters) -> int:
    """Return the number of scalars in the parameters."""
    return sum(math.prod(value.shape) for value in parameters.values())
