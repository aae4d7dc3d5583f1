"""Accuracy of choosing the right candidate among several, with ties counted against the model."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.core.errors import NumericalError


@dataclass(frozen=True)
class Accuracies:
    """Share of items whose right candidate is among the nearest, in percent.

    Attributes:
        top1: the nearest (ACC@1).
        top5: among the nearest 5 (ACC@5); None where there are no more than 5 candidates.
        top10: among the nearest 10 (ACC@10); None where there are no more than 10 candidates.
    """

    top1: float
    top5: float | None
    top10: float | None


def right_ranks(scores: Tensor, right: Tensor) -> Tensor:
    """Return for each item how many other candidates score at least as high as the right one, (items,).

    Args:
        scores: (items, candidates).
        right: the right candidate of each item, (items,).

    Raises:
        NumericalError: a score is not finite.

    Example:
        >>> right_ranks(torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0]]), torch.tensor([2, 0])).tolist()
        [1, 1]
    """
    if not bool(scores.isfinite().all()):
        raise NumericalError("classification: a score is not finite; the model diverged")
    own = scores.gather(1, right.unsqueeze(1))
    return (scores >= own).sum(1) - 1


def accuracies(ranks: Tensor, candidates: int) -> Accuracies:
    """Return the accuracies of ranks (items,), as `right_ranks` counts them, among so many candidates.

    Example:
        >>> accuracies(torch.tensor([0, 3, 7, 20]), candidates=100)
        Accuracies(top1=25.0, top5=50.0, top10=75.0)
    """
    top1, top5, top10 = (100 * float((ranks < k).double().mean()) for k in (1, 5, 10))
    return Accuracies(top1, top5 if candidates > 5 else None, top10 if candidates > 10 else None)


def class_embeddings(prompts: Tensor) -> Tensor:
    """Return one embedding of norm 1 for each class: the mean over its prompts, each scaled to norm 1 before.

    As in CLIP (arXiv 2103.00020, section 3.1.4).

    Args:
        prompts: embeddings in the space that they share with images (classes, templates, width).
    """
    return F.normalize(F.normalize(prompts, dim=2).mean(1), dim=1)


def answer_scores(images: Tensor, answers: Tensor) -> Tensor:
    """Return the cosine similarity of every question's image to each of its candidate answers, (questions, answers).

    Args:
        images: embedding of each question's image (questions, width).
        answers: embedding of each question with each answer (questions, answers, width).
    """
    return torch.einsum("qw,qaw->qa", F.normalize(images, dim=1), F.normalize(answers, dim=2))
