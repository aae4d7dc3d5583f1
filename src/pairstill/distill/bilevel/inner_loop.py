"""The inner loop: plain SGD of a student on mini-batches of distilled pairs, with learned rates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pairstill.model.dual_encoder import DropoutMasks, Parameters, side_of, split_sides

PairLoss = Callable[[Parameters, Tensor, Tensor, Tensor, DropoutMasks | None], Tensor]
"""Loss of (parameters, image inputs, text embeddings, similarities, masks) of one mini-batch."""


@dataclass(frozen=True)
class InnerData:
    """What the inner loop trains on.

    Attributes:
        images: image inputs (pairs, ...): pixels, or features of a frozen tower.
        texts: text embeddings (pairs, width).
        similarity: (pairs, pairs), rows images, columns texts.
    """

    images: Tensor
    texts: Tensor
    similarity: Tensor

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the images, texts and similarities of the pairs in `index`."""
        return self.images[index], self.texts[index], self.similarity[index][:, index]


@dataclass(frozen=True)
class InnerRates:
    """The learned inner rates, scalars.

    Attributes:
        image: rate of the image side.
        text: rate of the text side.
    """

    image: Tensor
    text: Tensor

    def of(self, name: str) -> Tensor:
        """Return the rate of a parameter, by its name."""
        return self.image if side_of(name) == "image" else self.text


@dataclass(frozen=True)
class LossHalves:
    """The loss in two parts, for images that go through their side of the model some at a time.

    Attributes:
        embed_images: image embeddings (images, width) of (parameters, image inputs, masks of these rows).
        of_embeddings: the loss of (parameters, image embeddings, text embeddings, similarities, masks).
    """

    embed_images: Callable[[Parameters, Tensor, DropoutMasks | None], Tensor]
    of_embeddings: PairLoss


@dataclass(frozen=True)
class LinearSides:
    """What an inner loop is when nothing is trained but a linear head on each side.

    Attributes:
        of_embeddings: the loss of (image embeddings, text embeddings, similarities, masks) of a mini-batch.
        target: the parameters at the end of the segment.
        matching: one ratio for each tower, or one over all parameters.
    """

    of_embeddings: Callable[[Tensor, Tensor, Tensor, DropoutMasks | None], Tensor]
    target: Parameters
    matching: Literal["per_tower", "joint"]


@dataclass(frozen=True)
class InnerStep:
    """The randomness of one inner step, drawn beforehand.

    Attributes:
        index: the pairs of the mini-batch.
        masks: the dropout masks.
    """

    index: Tensor
    masks: DropoutMasks | None


@dataclass(frozen=True, kw_only=True)
class InnerLoop:
    """One student's way along a segment of a teacher: all that a hypergradient is a function of.

    Attributes:
        loss: the mini-batch loss.
        start: parameters at the start epoch.
        data: the distilled pairs as the model sees them.
        rates: the learned inner rates.
        steps: mini-batches and dropout masks, one for each inner step.
        matching: the matching loss by part, of the parameters after the last step.
        halves: the loss in two parts, or None where it has none.
        linear: what the loop is for linear heads alone, or None for others.
    """

    loss: PairLoss
    start: Parameters
    data: InnerData
    rates: InnerRates
    steps: Sequence[InnerStep]
    matching: Callable[[Parameters], dict[str, Tensor]]
    halves: LossHalves | None = None
    linear: LinearSides | None = None


def draw_batches(
    pairs: int, batch_size: int, steps: int, generator: torch.Generator, *, least: int = 1
) -> list[Tensor]:
    """Return the mini-batches of `steps` inner steps.

    Pairs are visited in a random order, and in a new one when it runs out; the last mini-batch of an order is smaller
    when `batch_size` does not divide `pairs`, and left out where it has fewer than `least` pairs, so that no step is
    lost. (The authors' code leaves out every one that is not whole.)

    Raises:
        ValueError: there are fewer pairs than `least`, or mini-batches are to be smaller.
    """
    if min(pairs, batch_size) < least:
        raise ValueError(f"{pairs} pairs, {batch_size} at a time, make no mini-batch of {least}")
    batches: list[Tensor] = []
    while len(batches) < steps:
        order = torch.randperm(pairs, generator=generator)
        batches.extend(index for index in order.split(batch_size) if len(index) >= least)
    return batches[:steps]


def inner_step(parameters: Parameters, gradients: Parameters, rates: InnerRates) -> Parameters:
    """Return theta - A g, without a graph: every parameter moved against its gradient by its side's rate."""
    return difference(parameters, at_rates(gradients, rates))


def at_rates(values: Parameters, rates: InnerRates) -> Parameters:
    """Return A v: every tensor times its side's rate; on a GPU in few kernels, however many tensors there are.

    PyTorch cannot differentiate it for the rates.
    """
    scaled: Parameters = {}
    for side, members in split_sides(values).items():
        if members:
            rate = rates.image if side == "image" else rates.text
            products = torch._foreach_mul(list(members.values()), rate)  # pyright: ignore[reportPrivateImportUsage] - what torch.optim is made of
            scaled |= zip(members, products, strict=True)
    return {name: scaled[name] for name in values}


def difference(a: Parameters, b: Parameters) -> Parameters:
    """Return a - b, tensor by tensor; on a GPU in few kernels, however many tensors there are."""
    found = torch._foreach_sub(list(a.values()), [b[name] for name in a])  # pyright: ignore[reportPrivateImportUsage] - what torch.optim is made of
    return dict(zip(a, found, strict=True))
