"""`exact_store`: the graph of every step's gradient is kept from the forward sweep."""

from pairstill.distill.bilevel.inner_loop import InnerLoop, at_rates, difference, inner_step
from pairstill.distill.bilevel.solvers.base import FiniteSteps, Hypergradient, Solver, Sums, detached, last_adjoint
from pairstill.distill.bilevel.step_derivative import StepGraph, step_graph


class ExactStore(Solver):
    """No work twice, memory for all steps."""

    mode = "exact_store"

    def solve(self, loop: InnerLoop) -> Hypergradient:
        """Go forward with graphs, and back through them."""
        data, rates = detached(loop)
        graphs: list[StepGraph] = []
        parameters, finite = {name: value.detach() for name, value in loop.start.items()}, FiniteSteps()
        for step in loop.steps:
            graphs.append(step_graph(loop.loss, parameters, data, step))
            gradients = {name: value.detach() for name, value in graphs[-1].gradients.items()}
            finite.add(gradients)
            parameters = inner_step(parameters, gradients, rates)
        finite.check()
        losses, adjoint = last_adjoint(loop, parameters)
        sums = Sums(loop, losses, data)
        for step in reversed(loop.steps):
            found = graphs.pop().derivative(at_rates(adjoint, rates))
            sums.add(step, found, adjoint)
            adjoint = difference(adjoint, found.parameters)
        return sums.result()

    @classmethod
    def graphs_held(cls, inner_steps: int) -> int:
        """Return all steps."""
        return inner_steps
