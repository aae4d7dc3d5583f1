"""What the solvers share that go forward through the inner loop and back again."""

import torch
from torch import Tensor

from pairstill.distill.bilevel.inner_loop import InnerData, InnerLoop, InnerRates, InnerStep
from pairstill.distill.bilevel.solvers.base import Hypergradient
from pairstill.distill.bilevel.step_derivative import StepDerivative
from pairstill.model.dual_encoder import Parameters, side_of


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
