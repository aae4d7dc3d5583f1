"""Norms of second derivatives at points of a path, by power iteration; meant for float64."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pairstill.core.rng import make_generator
from pairstill.model.differentiable import differentiated
from pairstill.model.dual_encoder import Parameters
from pairstill.model.second_order import SecondOrderLayers

Operator = Callable[[Tensor], Tensor]

TOLERANCE = 1e-3
"""Power iterations stop when the norm changes by less than this part of it."""


def spectral_norm(
    apply: Operator, adjoint: Operator, size: int, iterations: int, device: torch.device | None = None
) -> float:
    """Return the largest singular value of a linear operator, from below.

    Power iteration on the operator and its adjoint in turn, from a random vector, until the value changes by less than
    `TOLERANCE` of itself or the iterations are used up.

    Args:
        apply: the operator, on vectors (size,).
        adjoint: its adjoint; the operator itself if it is symmetric.
        size: number of values that the operator takes.
        iterations: most applications of both together.
        device: where the operator computes; None is the CPU. The start is the same everywhere.

    Example:
        >>> matrix = torch.tensor([[3.0, 0.0], [0.0, -4.0]], dtype=torch.float64)
        >>> round(spectral_norm(lambda v: matrix @ v, lambda v: matrix.T @ v, 2, 100), 2)
        4.0
    """
    # drawn on the CPU, whose numbers are the same on every machine
    vector = torch.randn(size, generator=make_generator("power iteration"), dtype=torch.float64).to(device)
    vector, value = vector / vector.norm(), 0.0
    for _ in range(iterations):
        image = apply(vector)
        found = float(image.norm())
        if found == 0.0 or abs(found - value) < TOLERANCE * found:
            return found
        value = found
        vector = adjoint(image / found)
        vector = vector / vector.norm()
    return value


@dataclass(frozen=True)
class PointDerivatives:
    """First derivatives of a loss at one point, with the graph that second ones come from.

    Attributes:
        parameters: theta, leaves.
        images: the image inputs of D, a leaf.
        by_parameters: g = grad_theta l(D, theta), with its graph.
        by_images: grad_D l(D, theta), with its graph.
    """

    parameters: Parameters
    images: Tensor
    by_parameters: Parameters
    by_images: Tensor

    @staticmethod
    def of(loss: Callable[[Parameters, Tensor], Tensor], parameters: Parameters, images: Tensor) -> "PointDerivatives":
        """Differentiate a loss of parameters and image inputs."""
        leaves = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
        inputs = images.detach().clone().requires_grad_()
        with SecondOrderLayers():
            value = loss(leaves, inputs)
        found = torch.autograd.grad(value, [*leaves.values(), inputs], create_graph=True)
        return PointDerivatives(leaves, inputs, dict(zip(leaves, found[:-1], strict=True)), found[-1])

    @property
    def gradient(self) -> Tensor:
        """Return g as one vector."""
        return flat([value.detach() for value in self.by_parameters.values()])

    def hessian(self, vector: Tensor) -> Tensor:
        """Return H v, H = grad^2_{theta theta} l."""
        return flat(self._differentiated(self._along_parameters(vector))[:-1])

    def mixed(self, vector: Tensor) -> Tensor:
        """Return G u, G = grad_D g, for u over the image inputs."""
        return flat(self._differentiated((self.by_images * vector.view_as(self.images)).sum())[:-1])

    def mixed_adjoint(self, vector: Tensor) -> Tensor:
        """Return v^T G, for v over the parameters."""
        return flat(self._differentiated(self._along_parameters(vector))[-1:])

    def _along_parameters(self, vector: Tensor) -> Tensor:
        gradients = self.by_parameters.values()
        parts = vector.split([gradient.numel() for gradient in gradients])
        return torch.stack([(g * part.view_as(g)).sum() for g, part in zip(gradients, parts, strict=True)]).sum()

    def _differentiated(self, value: Tensor) -> list[Tensor]:
        """Return the derivatives for the parameters, then for the images."""
        leaves = [*self.parameters.values(), self.images]
        found = differentiated([value], leaves, [torch.ones_like(value)], retain_graph=True)
        return [torch.zeros_like(leaf) if one is None else one for one, leaf in zip(found, leaves, strict=True)]


def flat(values: list[Tensor]) -> Tensor:
    """Return tensors as one vector."""
    return torch.cat([value.flatten() for value in values])
