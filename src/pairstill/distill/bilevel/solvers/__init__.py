"""The ways to the hypergradient, one class each, and the choice between them."""

from pairstill.distill.bilevel.solvers.base import Hypergradient, Solver, mean_hypergradient
from pairstill.distill.bilevel.solvers.choice import SOLVERS, Choice, choose, solver
from pairstill.distill.bilevel.solvers.recompute import ExactRecompute, Truncated
from pairstill.distill.bilevel.solvers.span import ExactSpan
from pairstill.distill.bilevel.solvers.store import ExactStore
from pairstill.distill.bilevel.solvers.unrolled import Unrolled

__all__ = [
    "SOLVERS",
    "Choice",
    "ExactRecompute",
    "ExactSpan",
    "ExactStore",
    "Hypergradient",
    "Solver",
    "Truncated",
    "Unrolled",
    "choose",
    "mean_hypergradient",
    "solver",
]
