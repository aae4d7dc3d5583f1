r"""An inner step whose images go through the tower some at a time: memory for a micro-batch, not for a mini-batch.

With u = f(theta, x) the image embeddings and l(u, ...) the loss of a mini-batch, the gradient for theta is
sum_c J_c^T u_bar_c over micro-batches c, where u_bar = dl/du needs u alone. Its derivative along v follows from
<g, v> = <u_bar, u_dot> + <g_text, v_text> with u_dot = J v:

    p = grad_u <g, v> (u_dot constant);   h = sum_c grad_{theta, x_c} [<J_c^T u_bar_c, v> (u_bar constant) + <u_c, p_c>]

Everything is exact; images must not see each other in the tower.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from pairstill.distill.bilevel.inner_loop import InnerData, InnerLoop, InnerStep, LossHalves
from pairstill.distill.bilevel.step_derivative import StepDerivative, tangents
from pairstill.model.differentiable import ALONG, DifferentiableLayers, differentiated
from pairstill.model.dual_encoder import DropoutMasks, Parameters, split_sides
from pairstill.model.second_order import SecondOrderLayers


@dataclass(frozen=True)
class InMicroBatches:
    """Steps whose images go through the tower some at a time, differentiated by double backward.

    Attributes:
        size: images at a time.
    """

    size: int

    def gradients(self, loop: InnerLoop, parameters: Parameters, data: InnerData, step: InnerStep) -> Parameters:
        """Return the gradient of one inner step, without a graph; that of the whole mini-batch up to rounding."""
        return _gradients(_halves(loop), self.size, parameters, data, step)

    def derivative(
        self, loop: InnerLoop, parameters: Parameters, data: InnerData, step: InnerStep, direction: Parameters
    ) -> StepDerivative:
        """Return the derivative of one inner step along `direction`, one micro-batch at a time."""
        return _derivative(_halves(loop), self.size, parameters, data, (step, direction))


def _halves(loop: InnerLoop) -> LossHalves:
    assert loop.halves is not None, "whoever builds the loop gives the loss in two parts"
    return loop.halves


def _gradients(micro: LossHalves, size: int, parameters: Parameters, data: InnerData, step: InnerStep) -> Parameters:
    images, texts, similarity = data.batch(step.index)
    sides = {side: _leaves(part) for side, part in split_sides(parameters).items()}
    with torch.no_grad():
        u = torch.cat(
            [micro.embed_images(parameters, images[at], _rows(step.masks, at)) for at in _parts(size, images)]
        )
    u.requires_grad_()
    value = micro.of_embeddings(sides["text"], u, texts, similarity, step.masks)
    to_u, *to_text = torch.autograd.grad(value, [u, *sides["text"].values()])
    sums = {name: torch.zeros_like(value) for name, value in sides["image"].items()}
    for at in _parts(size, images):
        embedded = micro.embed_images(sides["image"], images[at], _rows(step.masks, at))
        found = torch.autograd.grad(embedded, list(sides["image"].values()), to_u[at])
        _add(sums, dict(zip(sums, found, strict=True)))
    return _in_order(parameters, {**sums, **dict(zip(sides["text"], to_text, strict=True))})


def _derivative(
    micro: LossHalves, size: int, parameters: Parameters, data: InnerData, at_step: tuple[InnerStep, Parameters]
) -> StepDerivative:
    step, direction = at_step
    images, texts, similarity = data.batch(step.index)
    sides = {side: _leaves(part) for side, part in split_sides(parameters).items()}
    along = split_sides(direction)
    u, u_dot = _moving_embeddings(micro, size, (sides["image"], along["image"]), images, step)

    # the loss above the embeddings
    wanted = [u.requires_grad_(), *sides["text"].values(), texts.requires_grad_(), similarity.requires_grad_()]
    value = micro.of_embeddings(sides["text"], u, texts, similarity, step.masks)
    first = torch.autograd.grad(value, wanted[:-2], create_graph=True)
    second = differentiated(first, wanted, [u_dot, *along["text"].values()])
    filled = [torch.zeros_like(w) if f is None else f for f, w in zip(second, wanted, strict=True)]
    to_u, through_u = first[0].detach(), filled[0]

    # the images' side of the model
    gradients, moved = ({n: torch.zeros_like(v) for n, v in sides["image"].items()} for _ in range(2))
    to_images = torch.zeros_like(images)
    for at in _parts(size, images):
        one = images[at].detach().requires_grad_()
        leaves = [*sides["image"].values(), one]
        with SecondOrderLayers():
            embedded = micro.embed_images(sides["image"], one, _rows(step.masks, at))
        found = torch.autograd.grad(embedded, leaves[:-1], to_u[at], create_graph=True)
        changes = differentiated([*found, embedded], leaves, [*along["image"].values(), through_u[at]])
        _add(gradients, dict(zip(gradients, (value.detach() for value in found), strict=True)))
        _add(moved, {n: c for n, c in zip(moved, changes[:-1], strict=True) if c is not None})
        if changes[-1] is not None:
            to_images[at] = changes[-1]
    texts_end = 1 + len(sides["text"])
    return StepDerivative(
        gradients=_in_order(
            parameters, gradients | dict(zip(sides["text"], (g.detach() for g in first[1:]), strict=True))
        ),
        parameters=_in_order(parameters, moved | dict(zip(sides["text"], filled[1:texts_end], strict=True))),
        images=to_images,
        texts=filled[-2],
        similarity=filled[-1],
    )


def _moving_embeddings(
    micro: LossHalves, size: int, moving: tuple[Parameters, Parameters], images: Tensor, step: InnerStep
) -> tuple[Tensor, Tensor]:
    """Return the embeddings and how they change along the direction, by tangents, without a graph."""
    parameters, direction = moving
    values, moved = [], []
    with torch.no_grad(), tangents(), DifferentiableLayers(ALONG):
        duals = {n: forward_ad.make_dual(v.detach(), direction[n]) for n, v in parameters.items()}
        for at in _parts(size, images):
            value, tangent = forward_ad.unpack_dual(micro.embed_images(duals, images[at], _rows(step.masks, at)))
            values.append(value)
            moved.append(torch.zeros_like(value) if tangent is None else tangent)
    return torch.cat(values), torch.cat(moved)


def _parts(size: int, images: Tensor) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, len(images), size))


def _rows(masks: DropoutMasks | None, at: slice) -> DropoutMasks | None:
    return None if masks is None or masks.image is None else DropoutMasks(masks.image[at], None)


def _leaves(parameters: Parameters) -> Parameters:
    return {name: value.detach().requires_grad_() for name, value in parameters.items()}


def _add(sums: Parameters, values: Parameters) -> None:
    for name, value in values.items():
        sums[name] += value


def _in_order(parameters: Parameters, values: Parameters) -> Parameters:
    return {name: values[name] for name in parameters}
