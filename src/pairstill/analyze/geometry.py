"""Shapes of point sets from their inner products: lengths, angles, distances and principal coordinates.

Everything here is a function of the Gram matrix G = X X^T (points, points), so that points with millions of values are
read once, layer by layer: the Gram matrix of all layers is the sum of theirs. A linear combination of points, such as
a shortcut, has C G C^T.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def gram(points: Tensor) -> Tensor:
    """Return the inner products (points, points) of rows (points, values), in float64.

    Example:
        >>> gram(torch.tensor([[1.0, 0.0], [3.0, 4.0]])).tolist()
        [[1.0, 3.0], [3.0, 25.0]]
    """
    wide = points.flatten(1).double()
    return wide @ wide.T


def distances(inner: Tensor) -> Tensor:
    """Return the Euclidean distances (points, points).

    Args:
        inner: inner products (points, points).

    Example:
        >>> distances(gram(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))).tolist()
        [[0.0, 5.0], [5.0, 0.0]]
    """
    squares = inner.diagonal()
    found = (squares[:, None] + squares[None, :] - 2 * inner).clamp_min(0).sqrt()
    return found.fill_diagonal_(0)


def step_lengths(inner: Tensor) -> Tensor:
    """Return the length of each step of a path, (points - 1,).

    Args:
        inner: inner products (points, points) of a path's points, in order.
    """
    return _steps(inner).diagonal().clamp_min(0).sqrt()


def turning_angles(inner: Tensor) -> Tensor:
    """Return by how many degrees a path turns at each inner point, (points - 2,): 0 is straight on, 180 is back.

    Where a step before or after has no length there is no angle, but NaN.

    Args:
        inner: inner products (points, points) of a path's points, in order.

    Example:
        >>> turning_angles(gram(torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0]]))).tolist()
        [90.0]
    """
    steps = _steps(inner)
    lengths = steps.diagonal().clamp_min(0).sqrt()
    return (steps.diagonal(1) / (lengths[:-1] * lengths[1:])).clamp(-1, 1).arccos().rad2deg()


def _steps(inner: Tensor) -> Tensor:
    """Return the inner products of the steps between consecutive points."""
    return combine(inner, torch.eye(len(inner), dtype=inner.dtype, device=inner.device).diff(dim=0))


def combine(inner: Tensor, weights: Tensor) -> Tensor:
    """Return the inner products of linear combinations of points.

    Args:
        inner: inner products (points, points).
        weights: (combinations, points).
    """
    return weights @ inner @ weights.T


@dataclass(frozen=True)
class PrincipalCoordinates:
    """Points in the few directions in which they differ most.

    Attributes:
        values: (points, components); each component has mean 0, and its largest entry is positive.
        shares: part of the whole variance that each component holds, (components,).
    """

    values: Tensor
    shares: Tensor


def principal_coordinates(inner: Tensor, components: int) -> PrincipalCoordinates:
    """Return the principal components of points, from their inner products.

    They are those of a PCA of the centred points. Directions without variance are filled with zeros.

    Args:
        inner: inner products (points, points).
        components: number of components.

    Example:
        >>> line = principal_coordinates(gram(torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])), 2)
        >>> line.values.abs().round(decimals=6).tolist(), line.shares.round(decimals=6).tolist()
        ([[5.0, 0.0], [0.0, 0.0], [5.0, 0.0]], [1.0, 0.0])
    """
    count = len(inner)
    centring = torch.eye(count, dtype=inner.dtype) - 1 / count
    variances, directions = torch.linalg.eigh(combine(inner.cpu(), centring))
    variances, directions = variances.flip(0).clamp_min(0), directions.flip(1)
    if components > count:
        variances = torch.cat([variances, variances.new_zeros(components - count)])
        directions = torch.cat([directions, directions.new_zeros(count, components - count)], 1)
    values = directions[:, :components] * variances[:components].sqrt()
    largest = values.gather(0, values.abs().argmax(0, keepdim=True))
    values = values * torch.where(largest < 0, -1.0, 1.0)
    total = variances.sum().clamp_min(torch.finfo(variances.dtype).tiny)
    return PrincipalCoordinates(values, variances[:components] / total)


def cosines(inner: Tensor) -> Tensor:
    """Return the cosine similarity between points, (points, points); a point at the origin agrees with none.

    Args:
        inner: inner products (points, points).

    Example:
        >>> cosines(gram(torch.tensor([[2.0, 0.0], [3.0, 4.0]]))).round(decimals=6).tolist()
        [[1.0, 0.6], [0.6, 1.0]]
    """
    lengths = inner.diagonal().clamp_min(0).sqrt()
    products = lengths[:, None] * lengths[None, :]
    return torch.where(products > 0, inner / products, 0.0).clamp(-1, 1)
