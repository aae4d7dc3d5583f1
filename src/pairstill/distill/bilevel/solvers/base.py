r"""The gradient of the matching loss for everything distilled, through the whole inner loop.

With g_k = grad_theta l(D_k, theta_k) and theta_{k+1} = theta_k - A g_k, the backward sweep is

    lambda_t = dL/dtheta_t
    (h_theta, h_D) = grad_{theta, D} <g_k, A lambda_{k+1}>
    dL/dD_k -= h_D;   dL/dalpha_m -= <g_k, lambda_{k+1}> over side m;   lambda_k = lambda_{k+1} - h_theta

for k = t-1 .. 0. It equals backpropagation through the unrolled loop. Each solver is one way to it; they differ in what
they hold meanwhile.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pairstill.config import Mode
from pairstill.core.errors import ConfigError, NumericalError
from pairstill.distill.bilevel.inner_loop import InnerData, InnerLoop, InnerRates, InnerStep
from pairstill.distill.bilevel.step_derivative import StepDerivative
from pairstill.model.differentiable import not_twice, without_tangent
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


class Solver(ABC):
    """A way to the hypergradient of an inner loop."""

    mode: ClassVar[Mode]
    """Its name in the settings."""

    def __call__(self, loop: InnerLoop) -> Hypergradient:
        """Run the inner loop, in which nothing is changed, and return the hypergradient.

        Raises:
            NumericalError: a gradient of the inner loop is not finite; the message names the inner step.
            ConfigError: the image tower calls an operation that this cannot differentiate; the message names it.
        """
        try:
            return self.solve(loop)
        except RuntimeError as error:
            if (operation := without_tangent(error)) is not None:
                raise ConfigError(
                    "distill.hypergradient carries tangents (derivative forward_over_reverse, or micro_batch), but the "
                    f"image tower calls {operation}, along which PyTorch carries none; leave micro_batch out and set "
                    "derivative to double_backward, or the mode to exact_store"
                ) from error
            if (operation := not_twice(error)) is not None:
                raise ConfigError(
                    f"the image tower calls {operation}, which PyTorch cannot differentiate twice, so that no mode of "
                    "distill.hypergradient goes through it; take another tower, or set image.trainable to false"
                ) from error
            raise

    @abstractmethod
    def solve(self, loop: InnerLoop) -> Hypergradient:
        """Return the hypergradient; what PyTorch cannot differentiate is its RuntimeError."""

    @classmethod
    @abstractmethod
    def graphs_held(cls, inner_steps: int) -> int:
        """Return how many inner steps' graphs it holds at once."""


def mean_hypergradient(found: Sequence[Hypergradient]) -> Hypergradient:
    """Return the mean of hypergradients and losses over several segments of the teachers."""

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


class FiniteSteps:
    """Collects whether gradients are finite, and looks at the answer once, after all steps: no waiting per step."""

    def __init__(self) -> None:
        """Begin with no step."""
        self._names: list[tuple[int, str]] = []
        self._sizes: list[Tensor] = []
        self._steps = 0

    def add(self, gradients: Parameters) -> None:
        """Take in the gradients of the next step."""
        self._names += [(self._steps, name) for name in gradients]
        # one pass, and on a GPU few kernels: a value that is not finite makes the sum of absolute values so
        values = [value.detach() for value in gradients.values()]
        self._sizes += torch._foreach_norm(values, 1)  # pyright: ignore[reportPrivateImportUsage] - what torch.optim is made of
        self._steps += 1

    def check(self) -> None:
        """Raise NumericalError for the first gradient that is not finite."""
        if not self._sizes:
            return
        wrong = (~torch.stack(self._sizes).isfinite()).nonzero()
        if len(wrong):
            step, name = self._names[int(wrong[0])]
            raise NumericalError(f"the inner loop's gradient of {name} is not finite at inner step {step}")


def detached(loop: InnerLoop) -> tuple[InnerData, InnerRates]:
    """Return a loop's pairs and rates without the graph that they come from."""
    data, rates = loop.data, loop.rates
    return (
        InnerData(data.images.detach(), data.texts.detach(), data.similarity.detach()),
        InnerRates(rates.image.detach(), rates.text.detach()),
    )


def last_adjoint(loop: InnerLoop, end: Parameters) -> tuple[dict[str, Tensor], Parameters]:
    """Return the matching loss by part, and lambda_t, its gradient for the parameters after the last step."""
    last = {name: value.detach().requires_grad_() for name, value in end.items()}
    losses = loop.matching(last)
    found = torch.autograd.grad(torch.stack(list(losses.values())).sum(), list(last.values()))
    return losses, dict(zip(last, found, strict=True))


class Sums:
    """The hypergradient as the backward sweep adds it up."""

    def __init__(self, loop: InnerLoop, losses: dict[str, Tensor], data: InnerData) -> None:
        """Begin with zeros.

        Args:
            loop: the inner loop.
            losses: the matching loss by part.
            data: the loop's pairs, without a graph.
        """
        self._losses = losses
        self._images, self._texts = torch.zeros_like(data.images), torch.zeros_like(data.texts)
        self._similarity = torch.zeros_like(data.similarity)
        self._rates = {"image": torch.zeros_like(loop.rates.image), "text": torch.zeros_like(loop.rates.text)}

    def add(self, step: InnerStep, found: StepDerivative, adjoint: Parameters) -> None:
        """Take in one step, whose gradient is moved along by `adjoint` (lambda_{k+1})."""
        self._images.index_add_(0, step.index, found.images, alpha=-1)
        self._texts.index_add_(0, step.index, found.texts, alpha=-1)
        self._similarity[step.index.unsqueeze(1), step.index] -= found.similarity
        names, along = list(found.gradients), [adjoint[name] for name in found.gradients]
        products = torch._foreach_mul(list(found.gradients.values()), along)  # pyright: ignore[reportPrivateImportUsage] - what torch.optim is made of
        for name, product in zip(names, products, strict=True):
            self._rates[side_of(name)] -= product.sum()

    def result(self) -> Hypergradient:
        """Return the sums."""
        losses = {part: value.detach() for part, value in self._losses.items()}
        return Hypergradient(
            losses, self._images, self._texts, self._similarity, self._rates["image"], self._rates["text"]
        )
