"""`unrolled`: plain backpropagation through the loop, the oracle of the tests."""

import torch

from pairstill.distill.bilevel.inner_loop import InnerData, InnerLoop, InnerRates
from pairstill.distill.bilevel.solvers.base import FiniteSteps, Hypergradient, Solver
from pairstill.model.differentiable import TWICE, DifferentiableLayers, differentiated


class Unrolled(Solver):
    """One graph of all steps."""

    mode = "unrolled"

    def solve(self, loop: InnerLoop) -> Hypergradient:
        """Let autograd do it."""
        given = (loop.data.images, loop.data.texts, loop.data.similarity)
        data = InnerData(*(x.detach().clone().requires_grad_() for x in given))
        rates = InnerRates(*(x.detach().clone().requires_grad_() for x in (loop.rates.image, loop.rates.text)))
        parameters = {name: value.detach().requires_grad_() for name, value in loop.start.items()}
        finite = FiniteSteps()
        for step in loop.steps:
            with DifferentiableLayers(TWICE):
                value = loop.loss(parameters, *data.batch(step.index), step.masks)
            gradients = torch.autograd.grad(value, list(parameters.values()), create_graph=True)
            by_name = dict(zip(parameters, gradients, strict=True))
            finite.add(by_name)
            parameters = {name: value - rates.of(name) * by_name[name] for name, value in parameters.items()}
        finite.check()
        losses = loop.matching(parameters)
        wanted = [data.images, data.texts, data.similarity, rates.image, rates.text]
        total = torch.stack(list(losses.values())).sum()
        found = differentiated([total], wanted, [torch.ones_like(total)])
        filled = [torch.zeros_like(w) if f is None else f for f, w in zip(found, wanted, strict=True)]
        return Hypergradient({part: v.detach() for part, v in losses.items()}, *filled)

    @classmethod
    def graphs_held(cls, inner_steps: int) -> int:
        """Return all steps."""
        return inner_steps
