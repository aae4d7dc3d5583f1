"""The smallest form of a distilled set on a disk, what it takes, and what a reader gets back from it.

Pictures are files: photos that are kept as they were, and PNG of pixels, or JPEG where that is asked for. Texts are
caption strings with weights in float16 where they are mixtures, and embeddings in float16 elsewhere; a glossary is its
caption strings; similarities are in float16, rates in float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pairstill.distilled import DistilledPhase, DistilledSet
from pairstill.distilled.real import Mixtures
from pairstill.exchange.jpeg import jpeg, through_jpeg
from pairstill.exchange.png import png, through_png

RATE_BYTES = 4
NUMBER_BYTES = 2
"""Of the number that names a caption of a mixture, and of a value in float16."""
LARGEST = torch.finfo(torch.float16).max


@dataclass(frozen=True)
class Sizes:
    """What the smallest form takes, in bytes.

    Attributes:
        pictures: the files of the pictures.
        texts: caption strings and weights, or embeddings; and the glossary.
        similarities: the factors of the similarities.
        rates: the learned rates.
    """

    pictures: int
    texts: int
    similarities: int
    rates: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.pictures + self.texts + self.similarities + self.rates


def sizes(distilled: DistilledSet, quality: int | None = None) -> Sizes:
    """Return what the smallest form of a set takes.

    Args:
        distilled: the set.
        quality: of JPEG, in which its pixels are; None takes PNG.
    """
    phases, encoder = distilled.phases, distilled.image_encoder

    def picture(image: Tensor) -> bytes:
        return png(image, encoder) if quality is None else jpeg(image, encoder, quality)

    pictures = sum(len(file) for phase in phases for file in (phase.photos or map(picture, phase.images)))
    factors = sum(factor.numel() for phase in phases for factor in phase.similarity_factors.values())
    rates = sum(2 * len(phase.rates) for phase in phases)
    texts = sum(map(_text_bytes, phases)) + caption_bytes(distilled.glossary)
    return Sizes(pictures, texts, NUMBER_BYTES * factors, RATE_BYTES * rates)


def _text_bytes(phase: DistilledPhase) -> int:
    if phase.mixtures is None:
        return NUMBER_BYTES * phase.text_embeddings.numel()
    parts = int((phase.mixtures.weights != 0).sum())
    return caption_bytes(phase.mixtures.distinct()) + 2 * NUMBER_BYTES * parts


def caption_bytes(captions: Sequence[str]) -> int:
    """Return the bytes of captions as lines of UTF-8.

    Example:
        >>> caption_bytes(["a dog", "née"])
        11
    """
    return sum(len(caption.encode()) + 1 for caption in captions)


def from_disk(
    distilled: DistilledSet, encode: Callable[[Sequence[str]], Tensor], quality: int | None = None
) -> DistilledSet:
    """Return what a reader of the smallest form gets.

    Args:
        distilled: the set.
        encode: embeddings (captions, width) of captions by the set's text encoder, for mixtures.
        quality: of JPEG, in which its pixels are; None takes PNG.
    """
    read = through_png(distilled) if quality is None else through_jpeg(distilled, quality)
    phases = tuple(
        replace(
            phase,
            **_texts(phase, encode),
            similarity_factors={name: _halved(factor) for name, factor in phase.similarity_factors.items()},
        )
        for phase in read.phases
    )
    return replace(read, phases=phases)


def _texts(phase: DistilledPhase, encode: Callable[[Sequence[str]], Tensor]) -> dict[str, Tensor | Mixtures]:
    if phase.mixtures is None:
        return {"text_embeddings": _halved(phase.text_embeddings)}
    mixtures = replace(phase.mixtures, weights=_halved(phase.mixtures.weights))
    captions = mixtures.distinct()
    embeddings = dict(zip(captions, encode(captions), strict=True))
    return {"mixtures": mixtures, "text_embeddings": mixtures.mixed(embeddings)}


def _halved(values: Tensor) -> Tensor:
    """Return values as float16 holds them, in float32; those beyond its range are its largest."""
    return values.clamp(-LARGEST, LARGEST).half().float()
