"""Retrieval examples: a query, what a student finds first, and whether it is right."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

TOP = 5


@dataclass(frozen=True)
class Hit:
    """One thing found.

    Attributes:
        index: the number of the image or caption in its split.
        score: cosine of its embedding and the query's.
        right: whether it belongs to the query.
    """

    index: int
    score: float
    right: bool


@dataclass(frozen=True)
class Answer:
    """What one query finds.

    Attributes:
        query: the number of the caption or image in its split.
        hits: the first things found, the best first.
        rank: rank of the first right one, from 1.
    """

    query: int
    hits: Sequence[Hit]
    rank: int


def answers(queries: Tensor, chosen: Tensor, candidates: Tensor, right: Tensor, top: int = TOP) -> list[Answer]:
    """Rank all candidates for the chosen queries by cosine; what scores as much as the right one ranks before it.

    Args:
        queries: embeddings (queries, width).
        chosen: numbers of the queries to answer, (chosen,).
        candidates: embeddings (candidates, width).
        right: whether a candidate is right for a chosen query, (chosen, candidates).
        top: how many hits to return.

    Example:
        >>> axes = torch.eye(3)
        >>> answers(axes, torch.tensor([1]), axes, torch.tensor([[False, True, False]]), 1)
        [Answer(query=1, hits=[Hit(index=1, score=1.0, right=True)], rank=1)]
    """
    scores = F.normalize(queries[chosen], dim=1) @ F.normalize(candidates, dim=1).T
    found = []
    for query, row, own in zip(chosen.tolist(), scores, right, strict=True):
        best = row[own].max()
        rank = 1 + int((row[~own] >= best).sum())
        # by score, and of equals the wrong ones first, as the rank counts them
        order = sorted(range(len(row)), key=lambda place, row=row, own=own: (-float(row[place]), bool(own[place])))
        hits = [Hit(place, float(row[place]), bool(own[place])) for place in order[:top]]
        found.append(Answer(query, hits, rank))
    return found


def draw(count: int, total: int, generator: torch.Generator) -> Tensor:
    """Return the numbers of `count` of `total` things, drawn at random, in order."""
    return torch.randperm(total, generator=generator)[:count].sort().values
