r"""The exact gradient of the matching loss for everything distilled, one inner step's graph at a time.

With g_k = grad_theta l(D_k, theta_k) and theta_{k+1} = theta_k - A g_k, the backward sweep is

    lambda_t = dL/dtheta_t
    (h_theta, h_D) = grad_{theta, D} <g_k, A lambda_{k+1}>
    dL/dD_k -= h_D;   dL/dalpha_m -= <g_k, lambda_{k+1}> over side m;   lambda_k = lambda_{k+1} - h_theta

for k = t-1 .. 0. It equals backpropagation through the unrolled loop, but holds one step's graph instead of t.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pairstill.distill.inner_loop import InnerData, InnerRates, InnerStep, PairLoss, inner_step
from pairstill.errors import NumericalError
from pairstill.model.dual_encoder import Parameters, side_of


@dataclass(frozen=True)
class Hypergradient:
    """The matching loss and its gradients.

    Attributes:
        losses: the matching loss by part, as returned by the matching function.
        images: gradient for the image inputs (pairs, ...).
        texts: gradient for the text embeddings (pairs, width).
        similarity: gradient for the similarity matrix (pairs, pairs).
        inner_lr_image: gradient for the image side's rate, a scalar.
        inner_lr_text: gradient for the text side's rate, a scalar.
    """

    losses: dict[str, Tensor]
    images: Tensor
    texts: Tensor
    similarity: Tensor
    inner_lr_image: Tensor
    inner_lr_text: Tensor


def mean_hypergradient(found: Sequence[Hypergradient]) -> Hypergradient:
    """Return the mean of hypergradients and losses over several stretches of the teachers."""

    def mean(values: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(values)).mean(0)

    return Hypergradient(
        {part: mean([one.losses[part] for one in found]) for part in found[0].losses},
        images=mean([one.images for one in found]),
        texts=mean([one.texts for one in found]),
        similarity=mean([one.similarity for one in found]),
        inner_lr_image=mean([one.inner_lr_image for one in found]),
        inner_lr_text=mean([one.inner_lr_text for one in found]),
    )


def exact_hypergradient(
    loss: PairLoss,
    start: Parameters,
    data: InnerData,
    rates: InnerRates,
    steps: Sequence[InnerStep],
    matching: Callable[[Parameters], dict[str, Tensor]],
) -> Hypergradient:
    """Run the inner loop from `start` and return the exact hypergradient.

    Memory grows with the parameters times the number of steps, not with the activations of more than one step.

    Args:
        loss: the mini-batch loss.
        start: parameters at the start epoch.
        data: the distilled pairs as the model sees them.
        rates: the learned inner rates.
        steps: mini-batches and dropout masks, one for each inner step.
        matching: the matching loss by part, of the parameters after the last step.

    Raises:
        NumericalError: a gradient of the inner loop is not finite; the message names the inner step.
    """
    with torch.no_grad():
        data = InnerData(data.images.detach(), data.texts.detach(), data.similarity.detach())
        rates = InnerRates(rates.image.detach(), rates.text.detach())
    trail = [{name: value.detach() for name, value in start.items()}]
    for number, step in enumerate(steps):
        gradients = _inner_gradients(loss, trail[-1], data, step)
        _check_finite(gradients, number)
        trail.append(inner_step(trail[-1], gradients, rates))

    last = {name: value.requires_grad_() for name, value in trail.pop().items()}
    losses = matching(last)
    total = torch.stack(list(losses.values())).sum()
    adjoint = dict(zip(last, torch.autograd.grad(total, list(last.values())), strict=True))

    grad_images, grad_texts = torch.zeros_like(data.images), torch.zeros_like(data.texts)
    grad_similarity = torch.zeros_like(data.similarity)
    grad_rates = {"image": torch.zeros_like(rates.image), "text": torch.zeros_like(rates.text)}
    for step in reversed(steps):
        back = _step_back(loss, trail.pop(), data, rates, step, adjoint)
        grad_images.index_add_(0, step.index, back.images, alpha=-1)
        grad_texts.index_add_(0, step.index, back.texts, alpha=-1)
        grad_similarity[step.index.unsqueeze(1), step.index] -= back.similarity
        for side, value in back.rates.items():
            grad_rates[side] -= value
        adjoint = {name: value - back.parameters[name] for name, value in adjoint.items()}
    return Hypergradient(
        {part: value.detach() for part, value in losses.items()},
        grad_images,
        grad_texts,
        grad_similarity,
        grad_rates["image"],
        grad_rates["text"],
    )


@dataclass(frozen=True)
class _Back:
    """What one inner step adds in the backward sweep (each is subtracted by the caller)."""

    parameters: Parameters
    images: Tensor
    texts: Tensor
    similarity: Tensor
    rates: dict[str, Tensor]


def _inner_gradients(loss: PairLoss, parameters: Parameters, data: InnerData, step: InnerStep) -> Parameters:
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    value = loss(leaves, *data.batch(step.index), step.masks)
    return dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))


def _step_back(
    loss: PairLoss, parameters: Parameters, data: InnerData, rates: InnerRates, step: InnerStep, adjoint: Parameters
) -> _Back:
    """Differentiate <g_k, A lambda> by double backward, at the parameters and the mini-batch of one step."""
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    batch = [part.requires_grad_() for part in data.batch(step.index)]
    value = loss(leaves, batch[0], batch[1], batch[2], step.masks)
    gradients = dict(zip(leaves, torch.autograd.grad(value, list(leaves.values()), create_graph=True), strict=True))
    product = torch.stack([(gradients[name] * (rates.of(name) * adjoint[name])).sum() for name in leaves]).sum()
    wanted = [*leaves.values(), *batch]
    # a parameter or the similarity (under InfoNCE) may not enter: its derivative is zero
    found = torch.autograd.grad(product, wanted, allow_unused=True)
    filled = [torch.zeros_like(w) if f is None else f for f, w in zip(found, wanted, strict=True)]
    sums: dict[str, list[Tensor]] = {"image": [], "text": []}
    for name, gradient in gradients.items():
        sums[side_of(name)].append((gradient.detach() * adjoint[name]).sum())
    return _Back(
        dict(zip(leaves, filled[: len(leaves)], strict=True)),
        *(filled[-3], filled[-2], filled[-1]),
        {side: torch.stack(terms).sum() for side, terms in sums.items() if terms},
    )


def unrolled_hypergradient(
    loss: PairLoss,
    start: Parameters,
    data: InnerData,
    rates: InnerRates,
    steps: Sequence[InnerStep],
    matching: Callable[[Parameters], dict[str, Tensor]],
) -> Hypergradient:
    """Return the same as `exact_hypergradient` by plain backpropagation through the whole loop.

    Holds the graphs of all steps at once; for checking the other on small cases.
    """
    data = InnerData(*(x.detach().clone().requires_grad_() for x in (data.images, data.texts, data.similarity)))
    rates = InnerRates(*(x.detach().clone().requires_grad_() for x in (rates.image, rates.text)))
    parameters = {name: value.detach().requires_grad_() for name, value in start.items()}
    for step in steps:
        value = loss(parameters, *data.batch(step.index), step.masks)
        gradients = torch.autograd.grad(value, list(parameters.values()), create_graph=True)
        parameters = inner_step(parameters, dict(zip(parameters, gradients, strict=True)), rates)
    losses = matching(parameters)
    wanted = [data.images, data.texts, data.similarity, rates.image, rates.text]
    found = torch.autograd.grad(torch.stack(list(losses.values())).sum(), wanted, allow_unused=True)
    filled = [torch.zeros_like(w) if f is None else f for f, w in zip(found, wanted, strict=True)]
    return Hypergradient({part: v.detach() for part, v in losses.items()}, *filled)


def _check_finite(gradients: Parameters, step: int) -> None:
    for name, value in gradients.items():
        if not bool(value.isfinite().all()):
            raise NumericalError(f"the inner loop's gradient of {name} is not finite at inner step {step}")
