"""A linear map between the spaces of two text encoders, by ridge regression on the same captions."""

from collections.abc import Callable, Iterable, Sequence
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


def fit_left_out(
    x: Tensor, y: Tensor, strengths: Sequence[float] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
) -> TextMap:
    """Return the ridge regression of few captions, of the strength with the least error on captions that are left out.

    Each caption is left out in turn, which has a closed form: with rows x_i and y_i about their means, n captions, the
    inverse P of C_xx + s m I (see `fit_text_map`) and r_i = y_i - C_yx P x_i, the error on caption i of the map without
    it is r_i / (1 - x_i^T P x_i / n - 1 / n) (Allen 1974, PRESS).

    Args:
        x: embeddings of the captions by the source, (captions, width).
        y: the same by the target.
        strengths: those that are tried, above 0; of equal ones the first wins.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> fitted = fit_left_out(x, 3 * x + 1, strengths=(10.0, 1e-6))
        >>> round(fitted.weight.item(), 4), round(fitted.offset.item(), 4)
        (3.0, 1.0)
    """
    x, y = x.double(), y.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    covariance = x.T @ x / len(x)
    scale = covariance.diagonal().mean().clamp_min(1e-200)  # of captions that are all the same there is nothing to map
    values, vectors = torch.linalg.eigh(covariance)
    rotated = x @ vectors
    product = rotated.T @ y / len(x)

    def error(strength: float) -> float:
        inverse = 1 / (values.clamp_min(0) + strength * scale)
        residual = y - rotated @ (inverse[:, None] * product)
        leverage = (rotated.square() * inverse).sum(1) / len(x) + 1 / len(x)
        return float((residual / (1 - leverage)[:, None]).square().sum())

    best = min(strengths, key=error)
    weight = vectors @ (product / (values.clamp_min(0) + best * scale)[:, None])
    return TextMap(weight, mean_y - mean_x @ weight)


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
