r"""Matching by one step with all pairs, as the paper's Appendix C has it, and the terms of its bound.

L(t) = |theta~ - theta_{t+M}| / |theta_t - theta_{t+M}| with theta~ = theta_t - eta g_t, without dropout, in float64. D
is the image inputs. The proposition speaks of a straight line that is walked at an even pace, theta_t = theta_0 + t
Delta theta; here Delta theta is the step of one epoch, (theta_n - theta_0) / n.
"""

import copy
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pairstill.analyze.curvature import PointDerivatives, flat, spectral_norm
from pairstill.distill.bilevel.inner_loop import InnerData, InnerLoop, InnerRates, InnerStep, PairLoss
from pairstill.distill.bilevel.matching import matching_losses
from pairstill.distill.bilevel.objective import TrajectoryObjective
from pairstill.distill.bilevel.solvers import ExactStore
from pairstill.distill.learned import initial_values
from pairstill.distill.pairs import IMAGES
from pairstill.model.dual_encoder import DropoutMasks, Parameters
from pairstill.model.functional import pair_loss
from pairstill.teachers.shortcut import TeacherPath, shortcut_path
from pairstill.teachers.trajectory import Trajectory


@dataclass(frozen=True)
class BoundTerms:
    """Second derivatives at a start on the straight line; their changes are for one epoch.

    Attributes:
        start: the start epoch t.
        hessian: |H_t|, H = grad^2_{theta theta} l.
        hessian_change: |H_{t+h} - H_t| / h.
        mixed: |G_t|, G = grad^2_{D theta} l.
        mixed_change: |G_{t+h} - G_t| / h.
        direction_change: |v_{t+h} - v_t| / h of the unit vectors v along eta g_t + M Delta theta.
    """

    start: float
    hessian: float
    hessian_change: float
    mixed: float
    mixed_change: float
    direction_change: float


@dataclass(frozen=True)
class Bound:
    """The constants of Eq. 6 and 14, and the terms they come from; lower estimates, as the terms are.

    Attributes:
        rate: eta, the larger of both sides' rates.
        span: M, in epochs.
        epoch_step: |Delta theta|, of one epoch on the straight line.
        terms: the measured terms.
    """

    rate: float
    span: int
    epoch_step: float
    terms: list[BoundTerms]

    @property
    def printed(self) -> float:
        """K as printed: eta / (M |Delta theta|) (L_H |Delta theta| + L_D theta)."""
        lipschitz, mixed = max(t.hessian_change for t in self.terms), max(t.mixed for t in self.terms)
        return self.rate / (self.span * self.epoch_step) * (lipschitz * self.epoch_step + mixed)

    @property
    def derived(self) -> float:
        """K as step (iii) of the proof has it: eta / (M |Delta theta|) (|dG/dt| + |G| |dv/dt|), the largest."""
        factors = [t.mixed_change + t.mixed * t.direction_change for t in self.terms]
        return self.rate / (self.span * self.epoch_step) * max(factors)


@dataclass(frozen=True)
class OneStepProblem:
    """The matching problem of Appendix C: one step of the student with all pairs.

    Attributes:
        loss: the student's loss.
        data: the pairs.
        rates: the step's rates.
        span: epochs from start to target.
    """

    loss: PairLoss
    data: InnerData
    rates: InnerRates
    span: int

    @staticmethod
    def of(objective: TrajectoryObjective) -> "OneStepProblem":
        """Return a phase's matching problem in this form, in float64."""
        model, config = copy.deepcopy(objective.model).double(), objective.config
        initial = {name: value.double() for name, value in initial_values(objective.variables()).items()}
        pairs = objective.pairs.render(initial)

        def loss(parameters: Parameters, x: Tensor, y: Tensor, s: Tensor, masks: DropoutMasks | None) -> Tensor:
            return pair_loss(model, parameters, (x, y, s), config.loss, masks)

        data = replace(pairs.data, images=initial[IMAGES], similarity=pairs.data.similarity.double())
        return OneStepProblem(loss, data, pairs.rates, config.matching_span)

    def gradient(self, path: TeacherPath, start: float) -> Tensor:
        """Return the gradient of L for the image inputs at a start, flattened."""
        begin, target = _double(path.at(start)), _double(path.at(start + self.span))

        def matching(end: Parameters) -> dict[str, Tensor]:
            return {"norm": matching_losses(end, begin, target, "joint")["joint"].sqrt()}

        everything = InnerStep(torch.arange(len(self.data.images), device=self.data.images.device), None)
        loop = InnerLoop(
            loss=self.loss, start=begin, data=self.data, rates=self.rates, steps=[everything], matching=matching
        )
        return ExactStore()(loop).images.flatten()

    def derivatives(self, path: TeacherPath, start: float) -> PointDerivatives:
        """Return the derivatives of the student's loss at a start."""

        def loss(parameters: Parameters, images: Tensor) -> Tensor:
            return self.loss(parameters, images, self.data.texts, self.data.similarity, None)

        return PointDerivatives.of(loss, _double(path.at(start)), self.data.images)

    def bound_terms(self, line: TeacherPath, start: float, step: float, iterations: int) -> BoundTerms:
        """Return the terms of the bound at a start on the straight line, changes over the next `step` epochs."""
        here, there = self.derivatives(line, start), self.derivatives(line, start + step)
        rates = flat([self.rates.of(name).expand(value.shape) for name, value in here.parameters.items()])
        epoch_step = flat([b - a for a, b in zip(*(line.at(e).values() for e in (0, 1)), strict=True)]).double()

        def direction(point: PointDerivatives) -> Tensor:
            return normalize(rates * point.gradient + self.span * epoch_step, dim=0)

        def hessian_change(v: Tensor) -> Tensor:
            return there.hessian(v) - here.hessian(v)

        values, images = len(rates), self.data.images.numel()
        norm = partial(spectral_norm, iterations=iterations, device=self.data.images.device)
        return BoundTerms(
            start,
            hessian=norm(here.hessian, here.hessian, values),
            hessian_change=norm(hessian_change, hessian_change, values) / step,
            mixed=norm(here.mixed, here.mixed_adjoint, images),
            mixed_change=norm(
                lambda u: there.mixed(u) - here.mixed(u),
                lambda v: there.mixed_adjoint(v) - here.mixed_adjoint(v),
                images,
            )
            / step,
            direction_change=float((direction(there) - direction(here)).norm()) / step,
        )


def _double(parameters: Parameters) -> Parameters:
    return {name: value.double() for name, value in parameters.items()}


def straight_line(trajectory: Trajectory, epochs: int, device: torch.device) -> TeacherPath:
    """Return the straight line from theta_0 to theta_epochs, walked at an even pace by all layers."""
    shortcut = shortcut_path(trajectory, epochs, device)
    even = torch.linspace(0, 1, epochs + 1, dtype=torch.float64).expand(len(trajectory.layers), -1)
    return TeacherPath(shortcut.initial, even, shortcut.displacements)
