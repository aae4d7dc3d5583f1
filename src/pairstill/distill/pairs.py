"""Pairs of images (pixels, features of a frozen tower, photos that are kept) and texts (embeddings, mixtures)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from pairstill.config import FeaturesFirstConfig, OuterConfig
from pairstill.distill.bilevel.inner_loop import InnerData, InnerRates
from pairstill.distill.features_first import FeatureRange, features_of, invert_features, outer_on_features
from pairstill.distill.initial import InitialPairs
from pairstill.distill.learned import Learned, Pairs, Variable
from pairstill.distill.mixture import Mixture
from pairstill.distill.similarity import Similarity
from pairstill.distilled import DistilledPhase
from pairstill.encoders.image import to_channels_last
from pairstill.events import Emit

TOWER_CHUNK = 50
IMAGES, TEXTS, RATE_IMAGE, RATE_TEXT = "images", "texts", "inner_lr_image", "inner_lr_text"
WEIGHTS = "mixtures"


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
class Kept:
    """Photos that stay as they are: nothing of them is learned, and their features are all that a student sees.

    Attributes:
        pixels: as the image tower takes them (pairs, 3, size, size), on the CPU.
        photos: the files.
    """

    pixels: Tensor
    photos: tuple[bytes, ...]

    def seen(self, images: Tensor) -> Tensor:
        """Return the features as they are."""
        return images

    def project(self, images: Tensor) -> None:
        """Leave them."""


@dataclass(frozen=True)
class PlainPairs:
    """The parametrisation of images, text embeddings, similarities and two inner rates.

    Attributes:
        images: what the images begin with: pixels (pairs, 3, size, size), or features (pairs, width); of photos that
            are kept, what their features are.
        texts: what the text embeddings begin with (pairs, width).
        similarity: the similarities.
        rate_image: what the student's rate of the image side begins with, a scalar.
        rate_text: the same for the text side.
        outer: the rates at which they move.
        kind: what the images are.
        captions: the real captions that they start from; empty strings for noise.
        sources: the real images, likewise.
        label: ends the names of what belongs to one of several towers: inner rates, and features; pixels, texts and
            similarities are common to all. Empty with one tower.
        mixture: what the texts are made of, whose weights are learned then; None learns the embeddings.
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
    label: str = ""
    mixture: Mixture | None = None

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
        return PlainPairs(
            images=images,
            texts=texts,
            similarity=similarity.to(device),
            rate_image=image,
            rate_text=text,
            outer=outer,
            kind=kind,
            captions=pairs.captions,
            sources=pairs.sources,
            mixture=None if pairs.mixture is None else pairs.mixture.to(device),
        )

    @property
    def names(self) -> tuple[str, str, str]:
        """The names of the images and of both rates."""
        images = IMAGES if isinstance(self.kind, Pixels) else IMAGES + self.label
        return images, RATE_IMAGE + self.label, RATE_TEXT + self.label

    def variables(self) -> dict[str, Variable]:
        """Return images and texts, or the weights that these are made of, factors of the similarity, both rates."""
        image_name, *rate_names = self.names
        outer, relative = self.outer, self.outer.rate_unit == "relative"

        def spread(value: Tensor) -> float:
            return float(value.std()) if relative else 1.0

        def rate(value: Tensor) -> Variable:
            return Variable(value, outer.lr_inner_lr, float(value) if relative else 1.0, positive=True)

        found = {}
        if not isinstance(self.kind, Kept):
            scale = spread(self.images)
            found[image_name] = Variable(self.images, outer.lr_images, scale, decays=True, project=self.kind.project)
        if self.mixture is None:
            found[TEXTS] = Variable(self.texts, outer.lr_texts, spread(self.texts), decays=True)
        else:
            found[WEIGHTS] = self.mixture.variable()
        return {
            **found,
            **self.similarity.variables(outer.lr_similarity),
            **{name: rate(value) for name, value in zip(rate_names, (self.rate_image, self.rate_text), strict=True)},
        }

    def render(self, values: Learned, rows: Tensor | None = None) -> Pairs:
        """Return the pairs as a student sees them; a frozen tower is run once, on those that are wanted alone."""
        _, rate_image, rate_text = self.names
        images, texts = self._images(values), self._texts(values)
        similarity = self.similarity.matrix(values, len(images), images.device)
        if rows is not None:
            images, texts, similarity = images[rows], texts[rows], similarity[rows][:, rows]
        data = InnerData(self.kind.seen(images), texts, similarity)
        return Pairs(data, InnerRates(values[rate_image], values[rate_text]))

    def phase(self, values: Learned) -> DistilledPhase:
        """Return the pairs as they are stored."""
        mixtures, texts = None, values.get(TEXTS, self.texts)
        if self.mixture is not None:
            mixtures, texts = self.mixture.stored(values[WEIGHTS].detach().to(self.mixture.weights))
        values = {name: value.detach().cpu() for name, value in values.items()}
        _, rate_image, rate_text = self.names
        kept = self.kind if isinstance(self.kind, Kept) else None
        return DistilledPhase(
            images=self._images(values).contiguous() if kept is None else kept.pixels,
            text_embeddings=texts.detach().cpu(),
            similarity_factors={n: v.cpu() for n, v in self.similarity.factors(values).items()},
            inner_lr_image=float(values[rate_image]),
            inner_lr_text=float(values[rate_text]),
            captions=self.captions,
            sources=self.sources,
            photos=() if kept is None else kept.photos,
            mixtures=mixtures,
        )

    def _images(self, values: Learned) -> Tensor:
        return self.images if isinstance(self.kind, Kept) else values[self.names[0]]

    def _texts(self, values: Learned) -> Tensor:
        return values[TEXTS] if self.mixture is None else self.mixture.texts(values[WEIGHTS])

    @property
    def towers(self) -> tuple[nn.Module, ...]:
        """The frozen tower that the pixels go through, if they do."""
        return (self.kind.tower,) if isinstance(self.kind, Pixels) and self.kind.tower is not None else ()

    def on_features(self, config: FeaturesFirstConfig, ranges: Sequence[FeatureRange]) -> "PlainPairs":
        """Return the same pairs with the tower's features in place of pixels.

        Args:
            config: the rate of the features.
            ranges: what they are kept in; none leaves them free.
        """
        (tower,) = self.towers
        features = features_of(tower, self.images)
        outer = outer_on_features(self.outer, config, features)
        return replace(self, images=features, outer=outer, kind=Features(ranges[0] if ranges else None))

    def inverted(self, values: Learned, config: FeaturesFirstConfig, phase: int, emit: Emit) -> Learned:
        """Return the values that were learned on features with pixels that have these features."""
        pixels = invert_features(self.towers, self.images, [values[IMAGES + self.label]], config, phase, emit)
        return {**values, IMAGES: pixels}

    def going_on(self, values: Learned, outer: OuterConfig) -> "PlainPairs":
        """Return the parametrisation that begins with these values, at other rates."""
        device, (_, rate_image, rate_text) = self.images.device, self.names
        factors = {name: value.to(device) for name, value in values.items()}
        learned = {name: factors[f"similarity/{name}"] for name in self.similarity.learned}
        return replace(
            self,
            images=self._images(factors),
            texts=self.texts if self.mixture is not None else factors[TEXTS],
            mixture=None if self.mixture is None else replace(self.mixture, weights=factors[WEIGHTS]),
            similarity=Similarity(learned, self.similarity.constant),
            rate_image=factors[rate_image],
            rate_text=factors[rate_text],
            outer=outer,
        )
