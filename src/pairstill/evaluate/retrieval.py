"""Ranks and recall of image-text retrieval in both directions, in tiles, with ties counted against the model."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.errors import NumericalError

TILE_ROWS = 512  # captions of a tile of scores
KEPT_BYTES = 1 << 30  # of tiles that the second direction need not compute again
DEPTHS = (1, 5, 10)


@dataclass(frozen=True)
class Recalls:
    """Recall at 1, 5 and 10 in percent, in both directions.

    Attributes:
        text_to_image_r1: share of captions whose image is the nearest (IR@1).
        text_to_image_r5: among the nearest 5 (IR@5).
        text_to_image_r10: among the nearest 10 (IR@10).
        image_to_text_r1: share of images with one of their captions as the nearest (TR@1).
        image_to_text_r5: among the nearest 5 (TR@5).
        image_to_text_r10: among the nearest 10 (TR@10).
    """

    text_to_image_r1: float
    text_to_image_r5: float
    text_to_image_r10: float
    image_to_text_r1: float
    image_to_text_r5: float
    image_to_text_r10: float

    @property
    def mean(self) -> float:
        """Mean of the six."""
        return sum(asdict(self).values()) / 6


@dataclass(frozen=True)
class QueryRanks:
    """The rank of the right answer to every query, from 0; a query is a hit at k if its rank is below k.

    Attributes:
        captions: for each caption, how many other images score at least as high as its own, (captions,).
        images: for each image, how many foreign captions score at least as high as its best own one, (images,).
    """

    captions: Tensor
    images: Tensor

    @property
    def recalls(self) -> Recalls:
        """The shares of hits, in percent."""
        shares = [100 * float((ranks < k).double().mean()) for ranks in (self.captions, self.images) for k in DEPTHS]
        return Recalls(*shares)


def retrieval_recalls(images: Tensor, texts: Tensor, caption_owner: Tensor) -> Recalls:
    """Return the recalls of embedded images and captions under cosine similarity; see `retrieval_ranks`.

    Example:
        >>> u = torch.eye(3)
        >>> retrieval_recalls(u, u, torch.arange(3)).mean
        100.0
    """
    return retrieval_ranks(images, texts, caption_owner).recalls


@torch.no_grad()
def retrieval_ranks(images: Tensor, texts: Tensor, caption_owner: Tensor) -> QueryRanks:
    """Return the ranks of embedded images and captions under cosine similarity.

    A score that equals the right one's ranks before it, so a model that gives one score to everything recalls
    nothing.

    Args:
        images: embeddings (images, width).
        texts: embeddings (captions, width).
        caption_owner: the image that each caption belongs to, (captions,).

    Raises:
        NumericalError: an embedding is not finite; comparisons would count it as a perfect rank.

    Example:
        >>> u = torch.eye(3)
        >>> retrieval_ranks(u, u[[0, 2, 1]], torch.arange(3)).captions.tolist()
        [0, 2, 2]
    """
    for name, embeddings in (("image", images), ("text", texts)):
        if not bool(embeddings.isfinite().all()):
            raise NumericalError(f"retrieval: an {name} embedding is not finite; the model diverged")
    owner = caption_owner.to(images.device)
    u, v = F.normalize(images, dim=1), F.normalize(texts, dim=1)
    kept: list[Tensor] = []
    image_ranks, own = _ranks_of_images(u, v, owner, kept)
    return QueryRanks(image_ranks.long(), _ranks_of_captions(u, v, owner, own, kept))


def _tiles(u: Tensor, v: Tensor, kept: list[Tensor]) -> Iterator[tuple[slice, Tensor]]:
    """Yield captions, and their scores with all images (captions, images), which the next tile may overwrite.

    All tiles are products of one shape, the last one computing some rows again: other shapes may be multiplied by other
    routines, which round equal scores apart and hide ties.

    Args:
        u: images, of norm 1.
        v: captions, of norm 1.
        kept: the first tiles, once they are computed; filled as far as memory allows.
    """
    rows = min(TILE_ROWS, len(v))
    room = KEPT_BYTES // (rows * len(u) * u.element_size())
    spare = u.new_empty(rows, len(u))
    for number, start in enumerate(range(0, len(v), rows)):
        first = min(start, len(v) - rows)
        if number < len(kept):
            scores = kept[number]
        else:
            scores = u.new_empty(rows, len(u)) if number < room else spare
            torch.mm(v[first : first + rows], u.T, out=scores)
            if number < room:
                kept.append(scores)
        yield slice(start, first + rows), scores[start - first :]


def _reached(scores: Tensor, bound: Tensor, buffer: Tensor) -> Tensor:
    """Return ones where a score is at least the bound, in the buffer: to sum numbers is faster than to sum truths."""
    return torch.ge(scores, bound, out=buffer[: len(scores)])


def _ranks_of_images(u: Tensor, v: Tensor, owner: Tensor, kept: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return for each caption how many other images score at least as high as its own, and its own image's score."""
    ranks, owns = [], []
    buffer = u.new_empty(min(TILE_ROWS, len(v)), len(u))
    for captions, scores in _tiles(u, v, kept):
        own = scores.gather(1, owner[captions].unsqueeze(1))
        ranks.append(_reached(scores, own, buffer).sum(1) - 1)
        owns.append(own.squeeze(1))
    return torch.cat(ranks), torch.cat(owns)


def _ranks_of_captions(u: Tensor, v: Tensor, owner: Tensor, own: Tensor, kept: list[Tensor]) -> Tensor:
    """Return for each image how many foreign captions score at least as high as its best own one, (images,)."""
    best = torch.full_like(u[:, 0], -torch.inf).scatter_reduce_(0, owner, own, "amax")
    reached = torch.zeros_like(best, dtype=torch.int64)
    buffer = u.new_empty(min(TILE_ROWS, len(v)), len(u))
    for _, scores in _tiles(u, v, kept):
        reached += _reached(scores, best, buffer).sum(0).long()
    own_reached = torch.zeros_like(reached).index_add_(0, owner, (own >= best[owner]).long())
    return reached - own_reached
