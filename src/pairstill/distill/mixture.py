"""Texts that are sparse mixtures of real captions: which captions, what is learned of them, and what is stored."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.config import MixtureConfig
from pairstill.data.rows import values_at
from pairstill.distill.learned import Variable
from pairstill.distilled.real import Mixtures


@dataclass(frozen=True)
class Mixture:
    """The learned weights of texts t_i = sum_k w_ik e(c_ik), of which a few in each row are not 0.

    Attributes:
        captions: the candidates of each text, its own first.
        embeddings: theirs by the text encoder, (texts, candidates, width).
        weights: what the weights begin with, (texts, candidates).
        config: how many stay, and the rate.
    """

    captions: tuple[tuple[str, ...], ...]
    embeddings: Tensor
    weights: Tensor
    config: MixtureConfig

    def variable(self) -> Variable:
        """Return the weights, which are cut after every move to the largest of each text."""
        return Variable(self.weights, self.config.lr_weights, project=self.prune)

    def texts(self, weights: Tensor) -> Tensor:
        """Return the texts (texts, width) of weights (texts, candidates), differentiable."""
        return torch.einsum("tk,tkw->tw", weights, self.embeddings)

    def prune(self, weights: Tensor) -> None:
        """Set all but the largest weights of each text to 0, in place and without a graph."""
        with torch.no_grad():
            weights.copy_(largest(weights, self.config.captions))

    def stored(self, weights: Tensor) -> tuple[Mixtures, Tensor]:
        """Return the mixtures of weights (texts, candidates), and their texts (texts, width), on the CPU.

        Of each text the largest weights alone stay, in falling order: an average over steps may have more.
        """
        order = weights.abs().sort(dim=1, descending=True, stable=True).indices[:, : self.config.captions]
        rows = zip(self.captions, order.tolist(), strict=True)
        chosen = tuple(tuple(row[k] for k in kept) for row, kept in rows)
        texts = self.texts(largest(weights, self.config.captions))
        return Mixtures(chosen, weights.gather(1, order).cpu()), texts.cpu()

    def to(self, device: torch.device) -> "Mixture":
        """Return it on a device."""
        return replace(self, embeddings=self.embeddings.to(device), weights=self.weights.to(device))


def largest(weights: Tensor, count: int) -> Tensor:
    """Return weights (texts, candidates) with all but the `count` of largest size in each row set to 0.

    Example:
        >>> largest(torch.tensor([[0.5, -2.0, 1.0]]), 2)
        tensor([[ 0., -2.,  1.]])
    """
    if count >= weights.shape[1]:
        return weights.clone()
    kept = weights.abs().topk(count, 1).indices
    return torch.zeros_like(weights).scatter(1, kept, weights.gather(1, kept))


def nearest(texts: Tensor, batches: Iterable[Tensor], count: int, own: Tensor | None = None) -> Tensor:
    """Return the numbers of the captions that are nearest to each text by the cosine, (texts, count).

    Args:
        texts: embeddings (texts, width).
        batches: embeddings of all captions in order, (captions, width) each.
        count: captions for each text; at most as many as there are.
        own: the number of each text's own caption, which comes first then, (texts,).
    """
    unit = F.normalize(texts, dim=1)
    scores = torch.cat([unit @ F.normalize(batch.to(unit), dim=1).T for batch in batches], 1)
    if own is not None:
        scores[torch.arange(len(texts)), own.to(scores.device)] = torch.inf
    return scores.topk(min(count, scores.shape[1]), 1).indices.cpu()


def begun(numbers: Tensor, captions: Sequence[str], batches: Iterable[Tensor], config: MixtureConfig) -> Mixture:
    """Return mixtures that begin as the first of their candidates, their own captions.

    Args:
        numbers: the candidates' numbers among all captions, (texts, candidates), as `nearest` returns them.
        captions: all.
        batches: the embeddings of all in order, (captions, width) each.
        config: how many stay, and the rate.
    """
    embeddings = torch.cat(list(batches))
    embeddings = embeddings[numbers.to(embeddings.device)]
    weights = torch.zeros(numbers.shape, device=embeddings.device)
    weights[:, 0] = 1
    texts = iter(values_at(captions, numbers.flatten().tolist()))
    rows = tuple(tuple(islice(texts, numbers.shape[1])) for _ in numbers)
    return Mixture(rows, embeddings, weights, config)
