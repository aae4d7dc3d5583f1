"""A linear map between the spaces of two text encoders, by ridge regression on the same captions."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Yields the embeddings of the same captions by the source and by the target, (captions, width) each."""


@dataclass(frozen=True)
class TextMap:
    """The affine map y = x weight + offset.

    Attributes:
        weight: (source width, target width).
        offset: (target width,).
    """

    weight: Tensor
    offset: Tensor

    def __call__(self, texts: Tensor) -> Tensor:
        """Return embeddings (texts, source width) in the target's space, (texts, target width)."""
        return (texts.double() @ self.weight + self.offset).to(texts.dtype)


def fit_text_map(batches: Batches, strength: float) -> TextMap:
    """Return the ridge regression of the target's embeddings on the source's.

    With covariances C of the centred embeddings, weight = (C_xx + s m I)^-1 C_xy, where m is the mean of the diagonal
    of C_xx, so that the strength s has no unit; offset = mean(y) - mean(x) weight. Sums are gathered batch by batch, in
    float64.

    Args:
        batches: the captions' embeddings.
        strength: s, not negative; 0 is least squares.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0]])
        >>> fitted = fit_text_map(lambda: [(x, 3 * x + 1)], strength=0.0)
        >>> fitted.weight.item(), fitted.offset.item()
        (3.0, 1.0)
    """
    first_x, first_y = next(iter(batches()))
    # shifted by one row, so that the squares lose no digits to a large mean
    shift_x, shift_y = first_x[:1].double(), first_y[:1].double()
    count = 0
    sum_x, sum_y = torch.zeros_like(shift_x[0]), torch.zeros_like(shift_y[0])
    square, product = sum_x.new_zeros(len(sum_x), len(sum_x)), sum_x.new_zeros(len(sum_x), len(sum_y))
    for x, y in batches():
        x, y = x.double() - shift_x, y.double() - shift_y
        count += len(x)
        sum_x, sum_y = sum_x + x.sum(0), sum_y + y.sum(0)
        square, product = square + x.T @ x, product + x.T @ y
    mean_x, mean_y = sum_x / count, sum_y / count
    covariance = square / count - torch.outer(mean_x, mean_x)
    covariance += strength * covariance.diagonal().mean() * torch.eye(len(mean_x), dtype=covariance.dtype)
    weight = torch.linalg.solve(covariance, product / count - torch.outer(mean_x, mean_y))
    return TextMap(weight, mean_y + shift_y[0] - (mean_x + shift_x[0]) @ weight)


def explained_variance(text_map: TextMap, batches: Batches) -> float:
    """Return how much of the target's variance a map explains: 1 - |y - map(x)|^2 / |y - mean(y)|^2, at most 1."""
    count, sum_y, sum_squares, residual = 0, torch.zeros(()), 0.0, 0.0
    for x, y in batches():
        y = y.double()
        count += len(y)
        sum_y = sum_y + y.sum(0)
        sum_squares += float(y.square().sum())
        residual += float((y - text_map(x.double())).square().sum())
    return 1 - residual / (sum_squares - float(sum_y.square().sum()) / count)
