"""The pairs of a phase, before and after, with what their texts are near to and what their similarities say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.core.formatting import human_bytes
from pairstill.distilled import DistilledPhase
from pairstill.exchange.png import to_bytes, to_pixels
from pairstill.report.pictures import Heat, change_gain, change_pixels, data_uri, heat_map

NEAREST = 3
STRONGEST = 10
FEW_PAIRS = 250
LARGE_SIDE, SMALL_SIDE = 160, 80


@dataclass(frozen=True)
class Near:
    """A real caption near to a distilled text embedding, and their cosine."""

    caption: str
    cosine: float


@dataclass(frozen=True)
class Real:
    """The real pairs that a phase started from, and the captions that its texts are near to.

    Attributes:
        nearest: the nearest real captions of each distilled text, the nearest first.
        images: at the start, in [0, 1], (pairs, 3, height, width); None for noise.
        text_embeddings: at the start, (pairs, width); None for noise.
    """

    nearest: Sequence[Sequence[Near]]
    images: Tensor | None = None
    text_embeddings: Tensor | None = None


@dataclass(frozen=True)
class PairCard:
    """One pair.

    Attributes:
        index: its row and column in the phase's similarity matrix.
        caption: the caption that it started from; empty for noise.
        source: the image that it started from, likewise.
        after: the distilled image.
        before: the image at the start, or None where the real pairs are not at hand.
        change: their difference, likewise.
        kept: cosine of the distilled text to its start, likewise.
        nearest: the nearest real captions of the distilled text.
    """

    index: int
    caption: str
    source: str
    after: str
    before: str | None = None
    change: str | None = None
    kept: float | None = None
    nearest: Sequence[Near] = ()


@dataclass(frozen=True)
class Link:
    """A strong similarity of an image and a text that do not stand in one row."""

    image: PairCard
    text: PairCard
    value: float


@dataclass(frozen=True)
class SimilarityView:
    """A learned similarity matrix.

    Attributes:
        heat: the matrix in colours.
        diagonal: mean of the diagonal.
        lowest: smallest entry.
        highest: largest entry.
        links: the strongest pairs off the diagonal.
    """

    heat: Heat
    diagonal: float
    lowest: float
    highest: float
    links: Sequence[Link]


@dataclass(frozen=True, kw_only=True)
class PhaseView:
    """One phase.

    Attributes:
        number: from 1.
        cards: its pairs.
        gain: what changes are multiplied by in the pictures, or None without them.
        outside: share of the image values outside of [0, 1], which pictures cannot show, in percent.
        side: width of the pictures in pixels.
        similarity: its matrix, or None for the identity.
        lr_image: learned rate of the image side.
        lr_text: learned rate of the text side.
        storage: what it stores: name and bytes of each part.
    """

    number: int
    cards: Sequence[PairCard]
    gain: float | None
    outside: float
    side: int
    similarity: SimilarityView | None
    lr_image: float
    lr_text: float
    storage: Mapping[str, str]


def phase_view(
    number: int, phase: DistilledPhase, encoder: Mapping[str, Any], real: Real | None, side: int
) -> PhaseView:
    """Return what a page shows of a phase.

    Args:
        number: its number, from 1.
        phase: its pairs.
        encoder: the tower's specification, with `mean` and `std` per channel.
        real: the real pairs that it started from, or None where they are not at hand.
        side: pictures are at most this wide.
    """
    pixels, unit = to_bytes(phase.images, encoder), to_pixels(phase.images, encoder)
    start = None if real is None else real.images
    gain = None if start is None else change_gain(start, unit)
    cards = []
    for index in range(phase.num_pairs):
        card = PairCard(index, phase.captions[index], phase.sources[index], data_uri(pixels[index], side))
        if start is not None and gain is not None:
            before = data_uri((start[index].clamp(0, 1) * 255).round().to(torch.uint8), side)
            change = data_uri(change_pixels(start[index], unit[index], gain), side)
            card = replace(card, before=before, change=change)
        cards.append(card if real is None else _with_words(card, phase, real))
    return PhaseView(
        number=number,
        cards=cards,
        gain=gain,
        outside=100 * float(((unit < 0) | (unit > 1)).float().mean()),
        side=min(side, phase.images.shape[-1]),
        similarity=similarity_view(phase.similarity, cards) if phase.similarity_factors else None,
        lr_image=phase.inner_lr_image,
        lr_text=phase.inner_lr_text,
        storage=_storage(phase),
    )


def picture_side(num_pairs: int) -> int:
    """Return how wide pictures are: with many pairs they are smaller, so that the page stays light."""
    return LARGE_SIDE if num_pairs <= FEW_PAIRS else SMALL_SIDE


def _with_words(card: PairCard, phase: DistilledPhase, real: Real) -> PairCard:
    """Return a card with what the pair's text is near to."""
    kept = None
    if real.text_embeddings is not None:
        now, before = phase.text_embeddings[card.index], real.text_embeddings[card.index]
        kept = float(F.cosine_similarity(now, before, dim=0))
    return replace(card, kept=kept, nearest=real.nearest[card.index])


def nearest_captions(
    texts: Tensor, embeddings: Tensor, captions: Sequence[str], count: int = NEAREST
) -> list[list[Near]]:
    """Return the captions whose embeddings have the largest cosines with each text, each caption once.

    Args:
        texts: (texts, width).
        embeddings: of the captions, (captions, width).
        captions: the captions.
        count: how many to return for each text, if there are as many different ones.

    Example:
        >>> axes = torch.eye(3)
        >>> nearest_captions(torch.tensor([[2.0, 1.0, 0.0]]), axes, ["red", "blue", "green"], 2)
        [[Near(caption='red', cosine=0.8944271802902222), Near(caption='blue', cosine=0.4472135901451111)]]
    """
    cosines = F.normalize(texts, dim=1) @ F.normalize(embeddings, dim=1).T
    found = []
    for row in cosines:
        near: dict[str, float] = {}
        places: list[int] = row.argsort(descending=True, stable=True).tolist()
        for place in places:
            near.setdefault(captions[place], float(row[place]))
            if len(near) == count:
                break
        found.append([Near(caption, cosine) for caption, cosine in near.items()])
    return found


def similarity_view(matrix: Tensor, cards: Sequence[PairCard]) -> SimilarityView:
    """Return what a page shows of a similarity matrix (images, texts)."""
    diagonal = matrix.diagonal()
    links = [Link(cards[image], cards[text], value) for image, text, value in strongest(matrix, STRONGEST)]
    return SimilarityView(heat_map(matrix), float(diagonal.mean()), float(matrix.min()), float(matrix.max()), links)


def strongest(matrix: Tensor, count: int) -> list[tuple[int, int, float]]:
    """Return image, text and value of the largest entries off the diagonal, the largest first.

    Example:
        >>> strongest(torch.tensor([[9.0, 1.0], [2.0, 9.0]]), 5)
        [(1, 0, 2.0), (0, 1, 1.0)]
    """
    size = len(matrix)
    others = matrix.masked_fill(torch.eye(size, dtype=torch.bool), -torch.inf).flatten()
    places = others.argsort(descending=True, stable=True)[: min(count, size * (size - 1))]
    return [(place // size, place % size, float(others[place])) for place in places.tolist()]


def _storage(phase: DistilledPhase) -> dict[str, str]:
    similarity = sum(factor.numel() for factor in phase.similarity_factors.values())
    scalars = {
        "images": phase.images.numel(),
        "text embeddings": phase.text_embeddings.numel(),
        "similarities": similarity,
        "rates": 2 * len(phase.rates),
    }
    return {name: human_bytes(4 * count) for name, count in scalars.items() if count}
