"""Gradients of everything that a phase learns: through the inner loops, or of an objective without one."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from pairstill.distill.direct import ADVERSARY, DirectObjective, DirectStep
from pairstill.distill.inner_loop import InnerData, InnerLoop, InnerRates, LinearSides, LossHalves
from pairstill.distill.matching import matching_losses
from pairstill.distill.problem import SIMILARITY, Learned, PhaseProblem
from pairstill.distill.solvers import Choice, Solver, choose, mean_hypergradient
from pairstill.distill.step_derivative import StepGraph, step_graph
from pairstill.distill.stretches import Stretch, draw_stretches
from pairstill.distilled import compose_similarity
from pairstill.encoders.image import to_channels_last
from pairstill.model.dual_encoder import DropoutMasks, Parameters
from pairstill.model.functional import embed_images, embedded_pair_loss, loss_of_embeddings, pair_loss
from pairstill.ranks import Ranks
from pairstill.rng import generator

TOWER_CHUNK = 50


def set_gradients(
    problem: PhaseProblem, learned: Learned, stretches: Sequence[Stretch], solver: Solver
) -> dict[str, Tensor]:
    """Leave the hypergradient, averaged over the stretches, in `.grad` of everything learned; return the losses.

    A frozen tower is run once: the inner loops see its features, and one vector-Jacobian product takes their
    gradient back to the pixels.
    """
    images, data, rates = learned["images"], *_as_the_student_sees(problem, learned)
    inputs, similarity = data.images, data.similarity
    found = mean_hypergradient([solver(_inner_loop(problem, data, rates, stretch)) for stretch in stretches])
    factors = [value for name, value in learned.items() if name.startswith(SIMILARITY)]
    outputs = [inputs, similarity] if factors else [inputs]
    gradients = torch.autograd.grad(outputs, [images, *factors], [found.images, found.similarity][: len(outputs)])
    for value, gradient in zip([images, *factors], gradients, strict=True):
        value.grad = gradient
    learned["texts"].grad = found.texts
    learned["inner_lr_image"].grad = found.inner_lr_image
    learned["inner_lr_text"].grad = found.inner_lr_text
    return found.losses


def set_direct_gradients(
    problem: PhaseProblem, objective: DirectObjective, learned: Learned, step: int, turn: int
) -> dict[str, Tensor]:
    """Leave the gradient of a turn of a direct objective in `.grad`, the adversary's turned round; return the losses.

    Pairs that the turn is not about are not seen, and have a gradient of zero.
    """
    rows = objective.rows(turn)
    seen = learned if rows is None else {**learned, **{name: learned[name][rows] for name in ("images", "texts")}}
    data, _ = _as_the_student_sees(problem, seen)
    adversary = {name: value for name, value in learned.items() if name.startswith(ADVERSARY)}
    against = {name.removeprefix(ADVERSARY): value for name, value in adversary.items()}
    draw = generator(problem.seed, "phase", problem.number, "step", step, "turn", turn)
    losses = objective.losses(DirectStep(data.images, data.texts, against, draw, step, turn))
    wanted = {"images": learned["images"], "texts": learned["texts"], **adversary}
    found = torch.autograd.grad(torch.stack(list(losses.values())).sum(), list(wanted.values()))
    for (name, value), gradient in zip(wanted.items(), found, strict=True):
        value.grad = -gradient if name in adversary else gradient
    return {part: value.detach() for part, value in losses.items()}


def mean_over_ranks(ranks: Ranks, learned: Learned, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Average the gradients of everything learned over the ranks, in place, and return the averaged losses.

    The gradients are averaged last of all, behind the frozen tower: every rank moves by the same bits, so that they
    cannot drift apart where the tower's own gradient is not deterministic.
    """
    gradients = {name: value.grad for name, value in learned.items() if value.grad is not None}
    found = ranks.mean({**gradients, **{f"loss/{part}": value for part, value in losses.items()}})
    for name in gradients:
        learned[name].grad = found[name]
    return {part: found[f"loss/{part}"] for part in losses}


def solver_for(learned: Learned, problem: PhaseProblem) -> Choice:
    """Choose the solver, where memory decides by the graph of the phase's first inner step."""

    def build_one_graph() -> StepGraph:
        stretch = draw_stretches(problem, 0)[0]
        with torch.no_grad():
            data, rates = _as_the_student_sees(problem, learned)
        loop = _inner_loop(problem, data, rates, stretch)
        return step_graph(loop.loss, loop.start, loop.data, loop.steps[0])

    config = problem.config
    return choose(config.hypergradient, problem.factory, build_one_graph, config.inner_steps)


def _as_the_student_sees(problem: PhaseProblem, learned: Learned) -> tuple[InnerData, InnerRates]:
    """Return inputs of the inner loop, with the graph that leads back to what is learned."""
    images = learned["images"]
    if problem.tower is None:
        inputs = to_channels_last(images) if images.ndim == 4 else images
    else:
        inputs = torch.cat([problem.tower(to_channels_last(chunk)) for chunk in images.split(TOWER_CHUNK)])
    similarity = similarity_of(learned, problem.constant_factors)
    rates = InnerRates(learned["inner_lr_image"], learned["inner_lr_text"])
    return InnerData(inputs, learned["texts"], similarity), rates


def _inner_loop(problem: PhaseProblem, data: InnerData, rates: InnerRates, stretch: Stretch) -> InnerLoop:
    """Return the student's way along one stretch."""

    def loss(parameters: Parameters, x: Tensor, y: Tensor, s: Tensor, masks: DropoutMasks | None) -> Tensor:
        return pair_loss(problem.model, parameters, (x, y, s), problem.config.loss, masks)

    path = problem.paths[stretch.expert]
    start, target = path.at(stretch.epoch), path.at(stretch.epoch + problem.config.matching_span)

    def matching(end: Parameters) -> dict[str, Tensor]:
        return matching_losses(end, start, target, problem.config.matching)

    linear = _linear_sides(problem, target)
    return InnerLoop(loss, start, data, rates, stretch.steps, matching, _halves(problem), linear)


def _linear_sides(problem: PhaseProblem, target: Parameters) -> LinearSides | None:
    """Return what the inner loop is when only linear heads are trained, or None when more is."""
    config = problem.config
    if not problem.factory.only_linear_heads:
        return None

    def loss(u: Tensor, v: Tensor, s: Tensor, masks: DropoutMasks | None) -> Tensor:
        if masks is not None and masks.blend is not None:
            u, v = masks.blend.of(u), masks.blend.of(v)  # linear heads: as good as blending what they are given
        return loss_of_embeddings(u, v, s, config.loss, problem.model.info_nce)

    return LinearSides(loss, target, config.matching)


def _halves(problem: PhaseProblem) -> LossHalves:
    def loss(parameters: Parameters, u: Tensor, y: Tensor, s: Tensor, masks: DropoutMasks | None) -> Tensor:
        return embedded_pair_loss(problem.model, parameters, (u, y, s), problem.config.loss, masks)

    return LossHalves(partial(embed_images, problem.model), loss)


def similarity_factors(learned: Mapping[str, Tensor], constant: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the learned and the constant factors of the similarity, under their plain names."""
    factors = {name.removeprefix(SIMILARITY): v for name, v in learned.items() if name.startswith(SIMILARITY)}
    return {**factors, **({name: v.to(learned["images"].device) for name, v in constant.items()} if factors else {})}


def similarity_of(learned: Mapping[str, Tensor], constant: Mapping[str, Tensor]) -> Tensor:
    """Return the similarity matrix (pairs, pairs) of what is learned, where its images are."""
    images = learned["images"]
    return compose_similarity(similarity_factors(learned, constant), len(images), images.device)
