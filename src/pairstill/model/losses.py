"""The two losses of the field: symmetric InfoNCE on real pairs, weighted BCE on distilled ones."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.config import InfoNCE

TEMPERATURE = 0.07
POSITIVE_THRESHOLD = 0.5


def cosine_logits(images: Tensor, texts: Tensor) -> Tensor:
    """Return logits (images, texts): cosine similarity over the temperature 0.07.

    Args:
        images: embeddings (images, width), any norm.
        texts: embeddings (texts, width), any norm.
    """
    return F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T / TEMPERATURE


def info_nce(logits: Tensor, directions: InfoNCE = "mean") -> Tensor:
    """Return the symmetric InfoNCE loss of a batch of matching pairs (Eq. 8).

    The loss is -(1/b) sum_i [log softmax_j(l_ij) + log softmax_j(l_ji)] / 2 at i = j: the mean of both directions (the
    paper prints their sum; its authors' code halves it, as it halves wBCE, and their rates assume that).

    Args:
        logits: (images, texts), square; row i matches column i.
        directions: their `mean`, or their `sum` as printed.

    Example:
        >>> zeros = torch.zeros(4, 4)
        >>> round(float(info_nce(zeros)), 4), round(float(info_nce(zeros, "sum")), 4)  # log 4, 2 log 4
        (1.3863, 2.7726)
    """
    matching = torch.arange(len(logits), device=logits.device)
    added = F.cross_entropy(logits, matching) + F.cross_entropy(logits.T, matching)
    return added / 2 if directions == "mean" else added


def weighted_bce(logits: Tensor, similarity: Tensor) -> Tensor:
    """Return the weighted binary cross-entropy against soft similarities (wBCE, Appendix A).

    Half the sum of two means: over the entries whose similarity exceeds 0.5 and over the others (the paper prints the
    sum; its authors' code halves it, and their rates assume that). Which entries are positive carries no gradient;
    the similarity, as the target, does. Computed from logits, so large logits stay finite.

    Args:
        logits: (images, texts).
        similarity: (images, texts), the learned targets, ideally in [0, 1] but not limited to it.

    Example:
        >>> round(float(weighted_bce(torch.zeros(2, 2), torch.eye(2))), 4)  # log 2
        0.6931
    """
    # log(1 + e^x) - s x is the cross-entropy of sigmoid(x) against s, twice differentiable in both
    entries = F.softplus(logits) - similarity * logits
    positive = (similarity.detach() > POSITIVE_THRESHOLD).to(entries.dtype)
    negative = 1 - positive
    mean_positive = (entries * positive).sum() / positive.sum().clamp_min(1)
    mean_negative = (entries * negative).sum() / negative.sum().clamp_min(1)
    return (mean_positive + mean_negative) / 2
