"""`exact_recompute` and `truncated`: each step's derivative is made anew in the backward sweep."""

from dataclasses import dataclass, field

from pairstill.distill.bilevel.inner_loop import InnerLoop, at_rates, difference, inner_step
from pairstill.distill.bilevel.solvers.base import FiniteSteps, Hypergradient, Solver, Sums, detached, last_adjoint
from pairstill.distill.bilevel.step_derivative import DoubleBackward, StepWay


@dataclass(frozen=True)
class ExactRecompute(Solver):
    """Memory for one step, at the price of one more forward pass of each.

    Attributes:
        way: how a step is differentiated.
    """

    mode = "exact_recompute"

    way: StepWay = field(default_factory=DoubleBackward)

    def solve(self, loop: InnerLoop) -> Hypergradient:
        """Go forward without graphs, and differentiate each step on the way back."""
        data, rates = detached(loop)
        trail = [{name: value.detach() for name, value in loop.start.items()}]
        finite = FiniteSteps()
        for step in loop.steps:
            gradients = self.way.gradients(loop, trail[-1], data, step)
            finite.add(gradients)
            trail.append(inner_step(trail[-1], gradients, rates))
        finite.check()
        losses, adjoint = last_adjoint(loop, trail.pop())
        sums = Sums(loop, losses, data)
        for step in reversed(loop.steps):
            found = self.way.derivative(loop, trail.pop(), data, step, at_rates(adjoint, rates))
            sums.add(step, found, adjoint)
            if not self._constant_adjoint():
                adjoint = difference(adjoint, found.parameters)
        return sums.result()

    def _constant_adjoint(self) -> bool:
        return False

    @classmethod
    def graphs_held(cls, inner_steps: int) -> int:
        """Return one."""
        return 1


class Truncated(ExactRecompute):
    """The same without h_theta, as the authors' code does: earlier steps count as constants. Not exact."""

    mode = "truncated"

    def _constant_adjoint(self) -> bool:
        return True
