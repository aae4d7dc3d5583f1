"""Ranks and recall of image-text retrieval in both directions, in tiles, with ties counted against the model."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.core.errors import NumericalError
from pairstill.core.formatting import counted

TILE_ROWS = 512  # captions of a tile of scores
KEPT_BYTES = 1 << 30  # of tiles that the second direction need not compute again
DEPTHS = (1, 5, 10)

FEW_TEST_IMAGES = 100
"""With fewer images to find, blind guesses reach a recall at 10 of more than 10 %."""


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
def retrieval_ranks(
    images: Tensor,
    texts: Tensor,
    caption_owner: Tensor,
    *,
    tile_rows: int = TILE_ROWS,
    kept_bytes: int = KEPT_BYTES,
) -> QueryRanks:
    """Return the ranks of embedded images and captions under cosine similarity.

    A score that equals the right one's ranks before it, so a model that gives one score to everything recalls
    nothing.

    Args:
        images: embeddings (images, width).
        texts: embeddings (captions, width).
        caption_owner: the image that each caption belongs to, (captions,).
        tile_rows: captions whose scores are computed at a time.
        kept_bytes: of scores that the second direction need not compute again.

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
    tiles = _Tiles(u, v, tile_rows, kept_bytes)
    image_ranks, own = _ranks_of_images(tiles, owner)
    return QueryRanks(image_ranks.long(), _ranks_of_captions(tiles, owner, own))


class _Tiles:
    """The scores of all captions with all images, in tiles.

    All tiles are products of one shape, the last one computing some rows again: other shapes may be multiplied by other
    routines, which round equal scores apart and hide ties. The first tiles are kept, as far as memory allows.
    """

    def __init__(self, u: Tensor, v: Tensor, rows: int, kept_bytes: int) -> None:
        """Take images (images, width) and captions (captions, width), of norm 1."""
        self.u, self.v, self.rows = u, v, min(rows, len(v))
        self._kept: list[Tensor] = []
        self._room = kept_bytes // (self.rows * len(u) * u.element_size())

    def new(self) -> Tensor:
        """Return room for a tile, (rows, images)."""
        return self.u.new_empty(self.rows, len(self.u))

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield captions, and their scores with all images (captions, images), which the next tile may overwrite."""
        spare = self.new()
        for number, start in enumerate(range(0, len(self.v), self.rows)):
            first = min(start, len(self.v) - self.rows)
            if number < len(self._kept):
                scores = self._kept[number]
            else:
                scores = self.new() if number < self._room else spare
                torch.mm(self.v[first : first + self.rows], self.u.T, out=scores)
                if number < self._room:
                    self._kept.append(scores)
            yield slice(start, first + self.rows), scores[start - first :]


def _reached(scores: Tensor, bound: Tensor, buffer: Tensor) -> Tensor:
    """Return ones where a score is at least the bound, in the buffer: to sum numbers is faster than to sum truths."""
    return torch.ge(scores, bound, out=buffer[: len(scores)])


def _ranks_of_images(tiles: _Tiles, owner: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each caption how many other images score at least as high as its own, and its own image's score."""
    ranks, owns, buffer = [], [], tiles.new()
    for captions, scores in tiles:
        own = scores.gather(1, owner[captions].unsqueeze(1))
        ranks.append(_reached(scores, own, buffer).sum(1) - 1)
        owns.append(own.squeeze(1))
    return torch.cat(ranks), torch.cat(owns)


def _ranks_of_captions(tiles: _Tiles, owner: Tensor, own: Tensor) -> Tensor:
    """Return for each image how many foreign captions score at least as high as its best own one, (images,)."""
    best = torch.full_like(tiles.u[:, 0], -torch.inf).scatter_reduce_(0, owner, own, "amax")
    reached = torch.zeros_like(best, dtype=torch.int64)
    buffer = tiles.new()
    for _, scores in tiles:
        reached += _reached(scores, best, buffer).sum(0).long()
    own_reached = torch.zeros_like(reached).index_add_(0, owner, (own >= best[owner]).long())
    return reached - own_reached


def few_test_images(images: int | None) -> str:
    """Return what is to be said of recalls on a test split of so few images, or an empty word.

    Args:
        images: of the test split; None if nobody knows.
    """
    if not images or images >= FEW_TEST_IMAGES:
        return ""
    return (
        f"The test split has only {counted(images, 'image')}: for a caption, ten images drawn blindly hold the right "
        f"one in {100 * min(10, images) / images:.0f} % of cases, so R@10 says little, and no recall compares with one "
        f"on a larger split. Give it {FEW_TEST_IMAGES} images or more"
    )
