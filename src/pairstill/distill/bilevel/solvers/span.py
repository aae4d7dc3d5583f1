r"""`exact_span`: behind a frozen tower with linear heads, in the span of the pairs: exact, and without the heads.

A linear head W x + b only ever moves along the inputs it is trained on. With G_k = d l(D_k) / d u_k, the gradient for
the embeddings u_k of step k's pairs, SGD gives

    W_t = W_0 - alpha A^T X,   b_t = b_0 - alpha A^T 1,   A = sum_k (G_k, in the rows of step k's pairs)

so that embeddings and matching loss need the Gram matrix K = X X^T + 1 of the pairs that are visited, and nothing of
the heads' size inside the loop:

    u_k = X_k W_0^T + b_0 - alpha K_k A
    |W_t - W*|^2 + |b_t - b*|^2 = |D|^2 - 2 alpha <A, X D^T> + alpha^2 <A, K A>,   D = (W_0 - W*, b_0 - b*)

The loop over A (visited pairs, width) is so small that plain backpropagation through it costs next to nothing. It
equals the other exact modes.
"""

import torch
from torch import Tensor

from pairstill.distill.bilevel.inner_loop import InnerLoop
from pairstill.distill.bilevel.matching import ratios
from pairstill.distill.bilevel.solvers.base import FiniteSteps, Hypergradient, Solver
from pairstill.model.dual_encoder import Parameters, Side

SIDES: tuple[Side, Side] = ("image", "text")


class _Head:
    """One side's head in the span of the visited pairs, on its way along the segment."""

    def __init__(self, side: Side, start: Parameters, target: Parameters, inputs: Tensor, rate: Tensor) -> None:
        weight, bias = start[f"{side}_head.project.weight"], start[f"{side}_head.project.bias"]
        far, shift = weight - target[f"{side}_head.project.weight"], bias - target[f"{side}_head.project.bias"]
        self.rate = rate
        self.gram = inputs @ inputs.T + 1
        self.first = inputs @ weight.T + bias
        self.towards = inputs @ far.T + shift
        self.length = far.square().sum() + shift.square().sum()
        self.moved = torch.zeros_like(self.first)

    def embed(self, rows: Tensor) -> Tensor:
        """Return the embeddings of visited pairs, (rows, width)."""
        return self.first[rows] - self.rate * (self.gram[rows] @ self.moved)

    def step(self, rows: Tensor, gradients: Tensor) -> None:
        """Move along the gradients for the embeddings of `rows`."""
        self.moved = self.moved.index_add(0, rows, gradients)

    def squared_distance(self) -> Tensor:
        """Return how far the head is from its target."""
        linear = (self.moved * self.towards).sum()
        square = (self.moved * (self.gram @ self.moved)).sum()
        return self.length - 2 * self.rate * linear + self.rate.square() * square


class ExactSpan(Solver):
    """The fastest by far, and small, where nothing but linear heads is trained."""

    mode = "exact_span"

    def solve(self, loop: InnerLoop) -> Hypergradient:
        """Run the inner loop in the span of the pairs; of its functions none is called."""
        linear, finite = loop.linear, FiniteSteps()
        assert linear is not None, "the settings allow this mode for linear heads alone"
        given = (loop.data.images, loop.data.texts, loop.data.similarity, loop.rates.image, loop.rates.text)
        wanted = [value.detach().clone().requires_grad_() for value in given]
        images, texts, similarity, *rates = wanted
        visited, places = torch.cat([step.index for step in loop.steps]).unique(return_inverse=True)
        heads = [
            _Head(side, loop.start, linear.target, inputs[visited], rate)
            for side, inputs, rate in zip(SIDES, (images, texts), rates, strict=True)
        ]
        for step, rows in zip(loop.steps, places.split([len(step.index) for step in loop.steps]), strict=True):
            sides = [head.embed(rows) for head in heads]
            value = linear.of_embeddings(sides[0], sides[1], similarity[step.index][:, step.index], step.masks)
            gradients = torch.autograd.grad(value, sides, create_graph=True)
            finite.add(dict(zip(SIDES, gradients, strict=True)))
            for head, gradient in zip(heads, gradients, strict=True):
                head.step(rows, gradient)
        finite.check()
        distances: dict[Side, Tensor] = {side: head.squared_distance() for side, head in zip(SIDES, heads, strict=True)}
        lengths: dict[Side, Tensor] = {side: head.length for side, head in zip(SIDES, heads, strict=True)}
        losses = ratios(distances, lengths, linear.matching)
        found = torch.autograd.grad(torch.stack(list(losses.values())).sum(), wanted, allow_unused=True)
        filled = [torch.zeros_like(w) if f is None else f for f, w in zip(found, wanted, strict=True)]
        return Hypergradient({part: value.detach() for part, value in losses.items()}, *filled)

    @classmethod
    def graphs_held(cls, inner_steps: int) -> int:
        """Return none: the loop in the span has no graph of the heads."""
        return 0
