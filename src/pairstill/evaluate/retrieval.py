"""Recall of image-text retrieval in both directions, in chunks, with ties counted against the model."""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.errors import NumericalError

CHUNK = 1024


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


def retrieval_recalls(images: Tensor, texts: Tensor, caption_owner: Tensor) -> Recalls:
    """Return the recalls of embedded images and captions under cosine similarity.

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
        >>> retrieval_recalls(u, u, torch.arange(3)).mean
        100.0
    """
    for name, embeddings in (("image", images), ("text", texts)):
        if not bool(embeddings.isfinite().all()):
            raise NumericalError(f"retrieval: an {name} embedding is not finite; the model diverged")
    owner = caption_owner.to(images.device)
    u, v = F.normalize(images, dim=1), F.normalize(texts, dim=1)
    image_ranks = _ranks_of_images(u, v, owner)
    caption_ranks = _ranks_of_captions(u, v, owner)
    shares = [100 * float((ranks < k).double().mean()) for ranks in (image_ranks, caption_ranks) for k in (1, 5, 10)]
    return Recalls(*shares)


def _chunks(count: int, device: torch.device) -> tuple[Tensor, ...]:
    """Return the numbers 0 to `count`, in pieces of about the same length of at most `CHUNK`.

    A last piece of one row would be multiplied by another routine, which rounds equal scores apart and hides ties.
    """
    return torch.arange(count, device=device).tensor_split(-(-count // CHUNK))


def _ranks_of_images(u: Tensor, v: Tensor, owner: Tensor) -> Tensor:
    """Return for each caption how many other images score at least as high as its own, (captions,)."""
    ranks = []
    for rows in _chunks(len(v), u.device):
        scores = v[rows] @ u.T
        own = scores.gather(1, owner[rows].unsqueeze(1))
        ranks.append((scores >= own).sum(1) - 1)
    return torch.cat(ranks)


def _ranks_of_captions(u: Tensor, v: Tensor, owner: Tensor) -> Tensor:
    """Return for each image how many foreign captions score at least as high as its best own one, (images,)."""
    ranks = []
    for rows in _chunks(len(u), u.device):
        scores = u[rows] @ v.T
        mine = owner.unsqueeze(0) == rows.unsqueeze(1)
        best = scores.masked_fill(~mine, -torch.inf).amax(1, keepdim=True)
        ranks.append(((scores >= best) & ~mine).sum(1))
    return torch.cat(ranks)
