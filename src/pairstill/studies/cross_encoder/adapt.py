"""A distilled set as other encoders need it: images resized and normalised anew, texts encoded anew or mapped."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from pairstill.core.errors import ConfigError
from pairstill.distilled import DistilledPhase, DistilledSet
from pairstill.distilled.real import decoded
from pairstill.encoders.image import ImageSpec
from pairstill.encoders.pixel_space import PixelSpace, adapt_images
from pairstill.encoders.text import TextSpec
from pairstill.studies.cross_encoder.text_map import TextMap


def space_of(distilled: DistilledSet) -> PixelSpace:
    """Return the space of a distilled set's images."""
    return replace(PixelSpace.of_json(distilled.image_encoder), size=distilled.phases[0].images.shape[-1])


def has_own_images(distilled: DistilledSet, spec: ImageSpec) -> bool:
    """Return whether an image tower is one that the set was made with: weights, size and normalisation."""
    if distilled.towers:
        return own_tower(distilled, spec) is not None
    own = distilled.image_encoder
    return own["digest"] == spec.digest and space_of(distilled) == PixelSpace.of_encoder(spec)


def own_tower(distilled: DistilledSet, spec: ImageSpec) -> int | None:
    """Return which of the several towers that a set was made for this is, from 0, or None."""
    space = PixelSpace.of_encoder(spec)
    for number, own in enumerate(distilled.towers):
        if own["digest"] == spec.digest and PixelSpace.of_json(own) == space:
            return number
    return None


def has_own_texts(distilled: DistilledSet, spec: TextSpec) -> bool:
    """Return whether a text tower is the one that the set was made with: weights, pooling and length."""
    own, asked = distilled.text_encoder, spec.to_json()
    return all(own[key] == asked[key] for key in ("digest", "pooling", "max_tokens", "width"))


def has_mixtures(distilled: DistilledSet) -> bool:
    """Return whether all texts of a set are mixtures of captions, which any text tower can encode."""
    return all(phase.mixtures is not None for phase in distilled.phases)


def check_width(distilled: DistilledSet, spec: TextSpec) -> None:
    """Check that a text tower's embeddings are as wide as the set's.

    Raises:
        ConfigError: they are not; the message says which fit.
    """
    own = distilled.phases[0].text_embeddings.shape[1]
    if own != spec.width:
        raise ConfigError(
            f"the pairs' text embeddings are those of {distilled.text_encoder['name']}, of width {own}, but "
            f"{spec.name} has width {spec.width}: text encoders of width {own} fit; for others add --map-text, which "
            "maps the embeddings by a ridge regression on the real training captions, or distil with distill.texts "
            "mixture, whose captions any encoder reads"
        )


Encode = Callable[[Sequence[str]], Tensor]
"""Embeddings (captions, width) of captions."""


def adapted_set(
    distilled: DistilledSet, image: ImageSpec, text: TextSpec, texts: TextMap | Encode | None = None
) -> DistilledSet:
    """Return a distilled set for other encoders; similarities and rates stay.

    Of a set for several towers, one of them takes its own rates, and any other the geometric mean of all.

    Photos that are kept are decoded anew, as the image tower takes photos.

    Args:
        distilled: the set.
        image: the image tower that will see it.
        text: the text tower that will see it.
        texts: maps the set's embeddings into the text tower's space; or encodes captions, of which the set's texts are
            mixed anew; or None where the embeddings are taken as they are.

    Raises:
        ConfigError: the embeddings are taken as they are, but the widths differ.
    """
    if texts is None:
        check_width(distilled, text)
    if (number := own_tower(distilled, image)) is not None:
        distilled = distilled.of_tower(number)
    source, target = space_of(distilled), PixelSpace.of_encoder(image)
    phases = tuple(
        replace(
            phase,
            images=decoded(phase.photos, image.to_json(), distilled.background)
            if phase.photos
            else adapt_images(phase.images, source, target),
            text_embeddings=_texts(phase, texts),
            tower_rates=(),
        )
        for phase in distilled.phases
    )
    return replace(distilled, phases=phases, image_encoder=image.to_json(), text_encoder=text.to_json(), towers=())


def _texts(phase: DistilledPhase, texts: TextMap | Encode | None) -> Tensor:
    if texts is None:
        return phase.text_embeddings
    if isinstance(texts, TextMap):
        return texts(phase.text_embeddings)
    assert phase.mixtures is not None
    captions = phase.mixtures.distinct()
    return phase.mixtures.mixed(dict(zip(captions, texts(captions), strict=True)))
