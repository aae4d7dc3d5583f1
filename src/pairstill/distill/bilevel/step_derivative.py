r"""Derivatives of one inner step: its gradient, and that gradient's derivative along a direction.

With g = grad_theta l(D, theta), the backward sweep needs, for a direction v over the parameters,

    (h_theta, h_D) = d/d eps of grad_{theta, D} l(D, theta + eps v) at eps = 0 = grad_{theta, D} <g, v>

The left form is forward-over-reverse: tangents go along with one gradient computation. The right form is double
backward: the graph of g is differentiated again; that graph can be made anew or kept from the forward sweep. Both are
exact. Double backward takes its layers from `second_order`, which makes it the faster one.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from pairstill.distill.bilevel.inner_loop import InnerData, InnerLoop, InnerStep, PairLoss
from pairstill.model.differentiable import ALONG, DifferentiableLayers, differentiated
from pairstill.model.dual_encoder import Parameters
from pairstill.model.second_order import SecondOrderLayers


@dataclass(frozen=True)
class StepDerivative:
    """The derivative of one inner step's gradient along a direction, and the gradient itself.

    Attributes:
        gradients: g, the step's gradient for the parameters.
        parameters: h_theta.
        images: h_D for the mini-batch's image inputs (mini-batch, ...).
        texts: for its text embeddings (mini-batch, width).
        similarity: for its similarities (mini-batch, mini-batch).
    """

    gradients: Parameters
    parameters: Parameters
    images: Tensor
    texts: Tensor
    similarity: Tensor


@dataclass(frozen=True)
class StepGraph:
    """One inner step with the graph of its gradient, to be differentiated once.

    Attributes:
        leaves: the parameters that it was taken at.
        batch: the mini-batch's images, texts and similarities.
        gradients: g, with its graph.
    """

    leaves: Parameters
    batch: Sequence[Tensor]
    gradients: Parameters

    def derivative(self, direction: Parameters) -> StepDerivative:
        """Differentiate along `direction` by double backward; the graph is freed."""
        names = [name for name, gradient in self.gradients.items() if gradient.requires_grad]
        wanted = [*self.leaves.values(), *self.batch]
        found: Sequence[Tensor | None] = [None] * len(wanted)
        if names:
            # a parameter, or the similarity under InfoNCE, may not enter: its derivative is zero
            found = differentiated(
                [self.gradients[name] for name in names], wanted, [direction[name] for name in names]
            )
        gradients = {name: gradient.detach() for name, gradient in self.gradients.items()}
        return _collected(gradients, found, wanted, self.leaves)


def inner_gradients(loss: PairLoss, parameters: Parameters, data: InnerData, step: InnerStep) -> Parameters:
    """Return the gradient of one inner step, without a graph."""
    leaves = _leaves(parameters)
    value = loss(leaves, *data.batch(step.index), step.masks)
    return dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))


def step_graph(loss: PairLoss, parameters: Parameters, data: InnerData, step: InnerStep) -> StepGraph:
    """Return the gradient of one inner step with its graph; the graph reaches into no other step."""
    leaves = _leaves(parameters)
    batch = [part.requires_grad_() for part in data.batch(step.index)]
    with SecondOrderLayers():
        value = loss(leaves, batch[0], batch[1], batch[2], step.masks)
    found = torch.autograd.grad(value, list(leaves.values()), create_graph=True)
    return StepGraph(leaves, batch, dict(zip(leaves, found, strict=True)))


def forward_over_reverse(
    loss: PairLoss, parameters: Parameters, data: InnerData, step: InnerStep, direction: Parameters
) -> StepDerivative:
    """Return the derivative of one inner step along `direction`, by carrying tangents through its gradient."""
    leaves = _leaves(parameters)
    batch = [part.requires_grad_() for part in data.batch(step.index)]
    wanted = [*leaves.values(), *batch]
    with tangents():
        duals = {name: forward_ad.make_dual(value, direction[name]) for name, value in leaves.items()}
        with DifferentiableLayers(ALONG):
            value = loss(duals, batch[0], batch[1], batch[2], step.masks)
        # a gradient without a tangent does not change along the direction
        pairs = [
            (None, None) if found is None else forward_ad.unpack_dual(found)
            for found in torch.autograd.grad(value, [*duals.values(), *batch], allow_unused=True)
        ]
    gradients = {
        name: torch.zeros_like(leaf) if primal is None else primal.detach()
        for (name, leaf), (primal, _) in zip(leaves.items(), pairs, strict=False)
    }
    moved = [None if tangent is None else tangent.detach() for _, tangent in pairs]
    return _collected(gradients, moved, wanted, leaves)


@contextmanager
def tangents() -> Iterator[None]:
    """Let tangents go along with what is computed."""
    with forward_ad.dual_level(), warnings.catch_warnings():
        # torch compiles its own tangent formulas at their first use, in a way that it deprecates
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.script", category=FutureWarning)
        yield


class StepWay(Protocol):
    """How one inner step is taken, and differentiated."""

    def gradients(self, loop: InnerLoop, parameters: Parameters, data: InnerData, step: InnerStep) -> Parameters:
        """Return the gradient of one inner step, without a graph."""
        ...

    def derivative(
        self, loop: InnerLoop, parameters: Parameters, data: InnerData, step: InnerStep, direction: Parameters
    ) -> StepDerivative:
        """Return the derivative of one inner step along `direction`."""
        ...


@dataclass(frozen=True)
class DoubleBackward:
    """By differentiating the graph of a step's gradient."""

    def gradients(self, loop: InnerLoop, parameters: Parameters, data: InnerData, step: InnerStep) -> Parameters:
        """Return the gradient of one inner step, without a graph."""
        return inner_gradients(loop.loss, parameters, data, step)

    def derivative(
        self, loop: InnerLoop, parameters: Parameters, data: InnerData, step: InnerStep, direction: Parameters
    ) -> StepDerivative:
        """Return the derivative of one inner step along `direction`."""
        return step_graph(loop.loss, parameters, data, step).derivative(direction)


@dataclass(frozen=True)
class ForwardOverReverse:
    """By carrying tangents through the computation of a step's gradient."""

    def gradients(self, loop: InnerLoop, parameters: Parameters, data: InnerData, step: InnerStep) -> Parameters:
        """Return the gradient of one inner step, without a graph."""
        return inner_gradients(loop.loss, parameters, data, step)

    def derivative(
        self, loop: InnerLoop, parameters: Parameters, data: InnerData, step: InnerStep, direction: Parameters
    ) -> StepDerivative:
        """Return the derivative of one inner step along `direction`."""
        return forward_over_reverse(loop.loss, parameters, data, step, direction)


def _leaves(parameters: Parameters) -> Parameters:
    return {name: value.detach().requires_grad_() for name, value in parameters.items()}


def _collected(
    gradients: Parameters, found: Sequence[Tensor | None], wanted: Sequence[Tensor], leaves: Parameters
) -> StepDerivative:
    filled = [torch.zeros_like(w) if f is None else f for f, w in zip(found, wanted, strict=True)]
    return StepDerivative(
        gradients,
        parameters=dict(zip(leaves, filled[: len(leaves)], strict=True)),
        images=filled[-3],
        texts=filled[-2],
        similarity=filled[-1],
    )
