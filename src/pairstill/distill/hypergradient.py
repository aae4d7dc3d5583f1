r"""The gradient of the matching loss for everything distilled, through the whole inner loop.

With g_k = grad_theta l(D_k, theta_k) and theta_{k+1} = theta_k - A g_k, the backward sweep is

    lambda_t = dL/dtheta_t
    (h_theta, h_D) = grad_{theta, D} <g_k, A lambda_{k+1}>
    dL/dD_k -= h_D;   dL/dalpha_m -= <g_k, lambda_{k+1}> over side m;   lambda_k = lambda_{k+1} - h_theta

for k = t-1 .. 0. It equals backpropagation through the unrolled loop. The modes differ in what they hold meanwhile:

- `exact_span` follows linear heads in the span of the pairs (see `span`): fastest by far, where the tower is frozen.
- `exact_store` keeps the graph of every step's gradient from the forward sweep: no work twice, memory for all steps.
- `exact_recompute` makes each graph (or carries tangents) anew in the backward sweep: memory for one step.
- `truncated` leaves out h_theta, as the authors' code does: earlier steps count as constants. Not exact.
- `unrolled` is plain backpropagation through the loop, the oracle of the tests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, assert_never

import torch
from torch import Tensor

from pairstill.distill.inner_loop import InnerData, InnerLoop, InnerRates, InnerStep, inner_step
from pairstill.distill.micro_batches import micro_derivative, micro_gradients
from pairstill.distill.span import span_gradients
from pairstill.distill.step_derivative import (
    StepDerivative,
    StepGraph,
    double_backward,
    forward_over_reverse,
    inner_gradients,
    step_graph,
)
from pairstill.errors import ConfigError, NumericalError
from pairstill.model.differentiable import TWICE, DifferentiableLayers, not_twice, without_tangent
from pairstill.model.dual_encoder import Parameters, side_of

Mode = Literal["exact_span", "exact_store", "exact_recompute", "truncated", "unrolled"]
Derivative = Literal["double_backward", "forward_over_reverse"]
_Gradients = Callable[[Parameters, InnerData, InnerStep], Parameters]
_Differentiate = Callable[[Parameters, InnerData, InnerStep, Parameters], StepDerivative]


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


def hypergradient(loop: InnerLoop, mode: Mode, derivative: Derivative = "double_backward") -> Hypergradient:
    """Run the inner loop and return the hypergradient.

    Args:
        loop: the inner loop; nothing in it is changed.
        mode: what is held between the forward and the backward sweep.
        derivative: how a step is differentiated in the backward sweep of `exact_recompute` and `truncated`; the
            other modes are double backward by nature, and take no micro-batches.

    Raises:
        NumericalError: a gradient of the inner loop is not finite; the message names the inner step.
        ConfigError: the image tower calls an operation that this cannot differentiate; the message names it.
    """
    try:
        return _in_mode(loop, mode, derivative)
    except RuntimeError as error:
        if (operation := without_tangent(error)) is not None:
            raise ConfigError(
                f"distill.hypergradient.derivative is forward_over_reverse, but the image tower calls {operation}, "
                "along whose gradient PyTorch carries no tangents; set it to double_backward, or the mode to "
                "exact_store"
            ) from error
        if (operation := not_twice(error)) is not None:
            raise ConfigError(
                f"the image tower calls {operation}, which PyTorch cannot differentiate twice, so that no mode of "
                "distill.hypergradient goes through it; take another tower, or set image.trainable to false"
            ) from error
        raise


def _in_mode(loop: InnerLoop, mode: Mode, derivative: Derivative) -> Hypergradient:
    match mode:
        case "exact_span":
            return _exact_span(loop)
        case "exact_store":
            return _exact_store(loop)
        case "exact_recompute":
            return _exact_recompute(loop, derivative)
        case "truncated":
            return _exact_recompute(loop, derivative, constant_adjoint=True)
        case "unrolled":
            return _unrolled(loop)
        case _:
            assert_never(mode)


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


def _sweeps(loop: InnerLoop, derivative: Derivative) -> tuple[_Gradients, _Differentiate]:
    """Return what the forward and the backward sweep call at every step."""
    if loop.micro is not None:
        if derivative != "double_backward":
            raise ValueError(f"micro-batches are differentiated by double_backward, not {derivative}")
        return partial(micro_gradients, loop.micro), partial(micro_derivative, loop.micro)
    match derivative:
        case "double_backward":
            return partial(inner_gradients, loop.loss), partial(double_backward, loop.loss)
        case "forward_over_reverse":
            return partial(inner_gradients, loop.loss), partial(forward_over_reverse, loop.loss)
        case _:
            assert_never(derivative)


def _exact_span(loop: InnerLoop) -> Hypergradient:
    if loop.linear is None:
        raise ValueError("exact_span needs linear heads behind a frozen tower")
    finite = _FiniteSteps()
    found = span_gradients(loop, loop.linear, finite.add)
    finite.check()
    return Hypergradient(found.losses, *found.gradients)


def _exact_store(loop: InnerLoop) -> Hypergradient:
    data, rates = _detached(loop)
    graphs: list[StepGraph] = []
    parameters, finite = loop.start, _FiniteSteps()
    for step in loop.steps:
        graphs.append(step_graph(loop.loss, parameters, data, step))
        gradients = {name: value.detach() for name, value in graphs[-1].gradients.items()}
        finite.add(gradients)
        parameters = inner_step(graphs[-1].leaves, gradients, rates)
        parameters = {name: value.detach() for name, value in parameters.items()}
    finite.check()
    losses, adjoint = _adjoint(loop, parameters)
    sums = _Sums(loop, losses, data)
    for step in reversed(loop.steps):
        found = graphs.pop().derivative(_direction(adjoint, rates))
        sums.add(step, found, adjoint)
        adjoint = {name: value - found.parameters[name] for name, value in adjoint.items()}
    return sums.result()


def _exact_recompute(loop: InnerLoop, derivative: Derivative, *, constant_adjoint: bool = False) -> Hypergradient:
    step_gradients, differentiate = _sweeps(loop, derivative)
    data, rates = _detached(loop)
    trail = [{name: value.detach() for name, value in loop.start.items()}]
    finite = _FiniteSteps()
    for step in loop.steps:
        gradients = step_gradients(trail[-1], data, step)
        finite.add(gradients)
        trail.append(inner_step(trail[-1], gradients, rates))
    finite.check()
    losses, adjoint = _adjoint(loop, trail.pop())
    sums = _Sums(loop, losses, data)
    for step in reversed(loop.steps):
        found = differentiate(trail.pop(), data, step, _direction(adjoint, rates))
        sums.add(step, found, adjoint)
        if not constant_adjoint:
            adjoint = {name: value - found.parameters[name] for name, value in adjoint.items()}
    return sums.result()


def _unrolled(loop: InnerLoop) -> Hypergradient:
    given = (loop.data.images, loop.data.texts, loop.data.similarity)
    data = InnerData(*(x.detach().clone().requires_grad_() for x in given))
    rates = InnerRates(*(x.detach().clone().requires_grad_() for x in (loop.rates.image, loop.rates.text)))
    parameters = {name: value.detach().requires_grad_() for name, value in loop.start.items()}
    finite = _FiniteSteps()
    for step in loop.steps:
        with DifferentiableLayers(TWICE):
            value = loop.loss(parameters, *data.batch(step.index), step.masks)
        gradients = torch.autograd.grad(value, list(parameters.values()), create_graph=True)
        by_name = dict(zip(parameters, gradients, strict=True))
        finite.add(by_name)
        parameters = inner_step(parameters, by_name, rates)
    finite.check()
    losses = loop.matching(parameters)
    wanted = [data.images, data.texts, data.similarity, rates.image, rates.text]
    found = torch.autograd.grad(torch.stack(list(losses.values())).sum(), wanted, allow_unused=True)
    filled = [torch.zeros_like(w) if f is None else f for f, w in zip(found, wanted, strict=True)]
    return Hypergradient({part: v.detach() for part, v in losses.items()}, *filled)


def _detached(loop: InnerLoop) -> tuple[InnerData, InnerRates]:
    data, rates = loop.data, loop.rates
    return (
        InnerData(data.images.detach(), data.texts.detach(), data.similarity.detach()),
        InnerRates(rates.image.detach(), rates.text.detach()),
    )


def _adjoint(loop: InnerLoop, end: Parameters) -> tuple[dict[str, Tensor], Parameters]:
    """Return the matching loss by part, and lambda_t, its gradient for the parameters after the last step."""
    last = {name: value.detach().requires_grad_() for name, value in end.items()}
    losses = loop.matching(last)
    found = torch.autograd.grad(torch.stack(list(losses.values())).sum(), list(last.values()))
    return losses, dict(zip(last, found, strict=True))


def _direction(adjoint: Parameters, rates: InnerRates) -> Parameters:
    return {name: rates.of(name) * value for name, value in adjoint.items()}


class _Sums:
    """The hypergradient as the backward sweep adds it up."""

    def __init__(self, loop: InnerLoop, losses: dict[str, Tensor], data: InnerData) -> None:
        self._losses = losses
        self._images, self._texts = torch.zeros_like(data.images), torch.zeros_like(data.texts)
        self._similarity = torch.zeros_like(data.similarity)
        self._rates = {"image": torch.zeros_like(loop.rates.image), "text": torch.zeros_like(loop.rates.text)}

    def add(self, step: InnerStep, found: StepDerivative, adjoint: Parameters) -> None:
        """Take in one step, whose gradient is moved along by `adjoint` (lambda_{k+1})."""
        self._images.index_add_(0, step.index, found.images, alpha=-1)
        self._texts.index_add_(0, step.index, found.texts, alpha=-1)
        self._similarity[step.index.unsqueeze(1), step.index] -= found.similarity
        for name, gradient in found.gradients.items():
            self._rates[side_of(name)] -= (gradient * adjoint[name]).sum()

    def result(self) -> Hypergradient:
        """Return the sums."""
        losses = {part: value.detach() for part, value in self._losses.items()}
        return Hypergradient(
            losses, self._images, self._texts, self._similarity, self._rates["image"], self._rates["text"]
        )


class _FiniteSteps:
    """Collects whether gradients are finite, and looks at the answer once, after all steps: no waiting per step."""

    def __init__(self) -> None:
        self._names: list[tuple[int, str]] = []
        self._flags: list[Tensor] = []
        self._steps = 0

    def add(self, gradients: Parameters) -> None:
        """Take in the gradients of the next step."""
        for name, value in gradients.items():
            self._names.append((self._steps, name))
            # one pass: a value that is not finite makes the sum so
            self._flags.append(value.detach().sum().isfinite())
        self._steps += 1

    def check(self) -> None:
        """Raise NumericalError for the first gradient that is not finite."""
        if not self._flags:
            return
        wrong = (~torch.stack(self._flags)).nonzero()
        if len(wrong):
            step, name = self._names[int(wrong[0])]
            raise NumericalError(f"the inner loop's gradient of {name} is not finite at inner step {step}")
