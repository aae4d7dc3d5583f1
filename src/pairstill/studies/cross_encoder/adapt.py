"""A distilled set as other encoders need it: images resized and normalised anew, text embeddings mapped."""

from dataclasses import replace

from pairstill.core.errors import ConfigError
from pairstill.distilled import DistilledSet
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
            "maps the embeddings by a ridge regression on the real training captions"
        )


def adapted_set(
    distilled: DistilledSet, image: ImageSpec, text: TextSpec, text_map: TextMap | None = None
) -> DistilledSet:
    """Return a distilled set for other encoders; similarities and rates stay.

    Of a set for several towers, one of them takes its own rates, and any other the geometric mean of all.

    Args:
        distilled: the set.
        image: the image tower that will see it.
        text: the text tower that will see it.
        text_map: maps the set's embeddings into the text tower's space, or None where they are taken as they are.

    Raises:
        ConfigError: without a map, the widths differ.
    """
    if text_map is None:
        check_width(distilled, text)
    if (number := own_tower(distilled, image)) is not None:
        distilled = distilled.of_tower(number)
    source, target = space_of(distilled), PixelSpace.of_encoder(image)
    phases = tuple(
        replace(
            phase,
            images=adapt_images(phase.images, source, target),
            text_embeddings=phase.text_embeddings if text_map is None else text_map(phase.text_embeddings),
            tower_rates=(),
        )
        for phase in distilled.phases
    )
    return replace(distilled, phases=phases, image_encoder=image.to_json(), text_encoder=text.to_json(), towers=())
