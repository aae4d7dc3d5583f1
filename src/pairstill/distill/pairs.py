"""Pairs whose images and text embeddings are learned as they are: pixels, or features of a frozen tower."""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from pairstill.config import OuterConfig
from pairstill.distill.features_first import FeatureRange
from pairstill.distill.initial import InitialPairs
from pairstill.distill.inner_loop import InnerData, InnerRates
from pairstill.distill.learned import Learned, Pairs, Variable
from pairstill.distill.similarity import Similarity
from pairstill.distilled import DistilledPhase
from pairstill.encoders.image import to_channels_last

TOWER_CHUNK = 50
IMAGES, TEXTS, RATE_IMAGE, RATE_TEXT = "images", "texts", "inner_lr_image", "inner_lr_text"


class Images(Protocol):
    """What the learned images are."""

    def seen(self, images: Tensor) -> Tensor:
        """Return them (pairs, ...) as a student takes them, differentiable."""
        ...

    def project(self, images: Tensor) -> None:
        """Move them, in place and without a graph, to the nearest ones that are allowed."""
        ...


@dataclass(frozen=True)
class Pixels:
    """Pixels.

    Attributes:
        tower: the frozen tower that they go through once, or None where the student has a tower of its own.
    """

    tower: nn.Module | None

    def seen(self, images: Tensor) -> Tensor:
        """Return features of the frozen tower, or pixels for a trained one."""
        if self.tower is None:
            return to_channels_last(images)
        return torch.cat([self.tower(to_channels_last(chunk)) for chunk in images.split(TOWER_CHUNK)])

    def project(self, images: Tensor) -> None:
        """Leave them: every pixel is allowed."""


@dataclass(frozen=True)
class Features:
    """Features of a frozen tower, in place of pixels.

    Attributes:
        bounds: what they are kept in; None leaves them free.
    """

    bounds: FeatureRange | None = None

    def seen(self, images: Tensor) -> Tensor:
        """Return them as they are."""
        return images

    def project(self, images: Tensor) -> None:
        """Keep them in their bounds."""
        if self.bounds is not None:
            self.bounds.clamp_(images)


@dataclass(frozen=True)
class PlainPairs:
    """The parametrisation of images, text embeddings, similarities and two inner rates.

    Attributes:
        images: what the images begin with: pixels (pairs, 3, size, size), or features (pairs, width).
        texts: what the text embeddings begin with (pairs, width).
        similarity: the similarities.
        rate_image: what the student's rate of the image side begins with, a scalar.
        rate_text: the same for the text side.
        outer: the rates at which they move.
        kind: what the images are.
        captions: the real captions that they start from; empty strings for noise.
        sources: the real images, likewise.
    """

    images: Tensor
    texts: Tensor
    similarity: Similarity
    rate_image: Tensor
    rate_text: Tensor
    outer: OuterConfig
    kind: Images
    captions: tuple[str, ...]
    sources: tuple[str, ...]

    @staticmethod
    def of(
        pairs: InitialPairs,
        kind: Images,
        similarity: Similarity,
        rates: tuple[float, float],
        outer: OuterConfig,
        device: torch.device,
    ) -> "PlainPairs":
        """Return the parametrisation that begins with given pairs, rates and similarities, on a device."""
        image, text = (torch.tensor(rate, device=device) for rate in rates)
        images, texts = pairs.images.to(device), pairs.text_embeddings.to(device)
        return PlainPairs(images, texts, similarity.to(device), image, text, outer, kind, pairs.captions, pairs.sources)

    def variables(self) -> dict[str, Variable]:
        """Return images, texts, factors of the similarity, and both rates."""
        outer, relative = self.outer, self.outer.rate_unit == "relative"

        def spread(value: Tensor) -> float:
            return float(value.std()) if relative else 1.0

        def rate(value: Tensor) -> Variable:
            return Variable(value, outer.lr_inner_lr, float(value) if relative else 1.0, positive=True)

        images = Variable(self.images, outer.lr_images, spread(self.images), decays=True, project=self.kind.project)
        return {
            IMAGES: images,
            TEXTS: Variable(self.texts, outer.lr_texts, spread(self.texts), decays=True),
            **self.similarity.variables(outer.lr_similarity),
            RATE_IMAGE: rate(self.rate_image),
            RATE_TEXT: rate(self.rate_text),
        }

    def render(self, values: Learned, rows: Tensor | None = None) -> Pairs:
        """Return the pairs as a student sees them; a frozen tower is run once, on those that are wanted alone."""
        images, texts = values[IMAGES], values[TEXTS]
        similarity = self.similarity.matrix(values, len(images), images.device)
        if rows is not None:
            images, texts, similarity = images[rows], texts[rows], similarity[rows][:, rows]
        data = InnerData(self.kind.seen(images), texts, similarity)
        return Pairs(data, InnerRates(values[RATE_IMAGE], values[RATE_TEXT]))

    def phase(self, values: Learned) -> DistilledPhase:
        """Return the pairs as they are stored."""
        values = {name: value.detach().cpu() for name, value in values.items()}
        return DistilledPhase(
            images=values[IMAGES].contiguous(),
            text_embeddings=values[TEXTS],
            similarity_factors={n: v.cpu() for n, v in self.similarity.factors(values).items()},
            inner_lr_image=float(values[RATE_IMAGE]),
            inner_lr_text=float(values[RATE_TEXT]),
            captions=self.captions,
            sources=self.sources,
        )

    def on_features(self, features: Tensor, outer: OuterConfig, bounds: FeatureRange | None) -> "PlainPairs":
        """Return the same pairs with features in place of pixels.

        Args:
            features: of the images that these begin with (pairs, width).
            outer: the rates.
            bounds: what the features are kept in; None leaves them free.
        """
        return replace(self, images=features, outer=outer, kind=Features(bounds))

    def going_on(self, values: Learned, outer: OuterConfig) -> "PlainPairs":
        """Return the parametrisation that begins with these values, at other rates."""
        device = self.images.device
        factors = {name: value.to(device) for name, value in values.items()}
        learned = {name: factors[f"similarity/{name}"] for name in self.similarity.learned}
        return replace(
            self,
            images=factors[IMAGES],
            texts=factors[TEXTS],
            similarity=Similarity(learned, self.similarity.constant),
            rate_image=factors[RATE_IMAGE],
            rate_text=factors[RATE_TEXT],
            outer=outer,
        )
