"""The outer loop of one phase: hypergradients move the distilled pairs, an average of them is kept.

All randomness of a step derives from the seed, the phase and the step's number, so a checkpoint holds tensors only
and a killed run goes on to the same bits.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from pairstill.config import DistillConfig, OuterConfig, PhaseConfig
from pairstill.distill.direct import ADVERSARY, DirectObjective, DirectStep
from pairstill.distill.hypergradient import Mode, hypergradient, mean_hypergradient
from pairstill.distill.inner_loop import InnerData, InnerLoop, InnerRates, InnerStep, MicroBatches, draw_batches
from pairstill.distill.matching import matching_losses
from pairstill.distill.memory import ModeChoice, choose_mode
from pairstill.distill.step_derivative import StepGraph, step_graph
from pairstill.distilled import compose_similarity
from pairstill.encoders.image import to_channels_last
from pairstill.errors import ArtifactError, NumericalError
from pairstill.model.dual_encoder import Blend, DropoutMasks, DualEncoder, ModelFactory, Parameters
from pairstill.model.functional import embed_images, embedded_pair_loss, pair_loss
from pairstill.ranks import Ranks
from pairstill.rng import generator
from pairstill.storage import open_tensors, save_tensors
from pairstill.trajectories.shortcut import Path as TeacherPath

Learned = dict[str, Tensor]
"""Everything that a phase learns, by name: `images`, `texts`, `similarity/...`, `inner_lr_image`, `inner_lr_text`."""

SIMILARITY = "similarity/"
TOWER_CHUNK = 50


class TeacherPaths(Protocol):
    """The paths that a phase may match, one for each expert."""

    def __len__(self) -> int:
        """Return the number of experts."""
        ...

    def __getitem__(self, expert: int) -> TeacherPath:
        """Return the path of an expert, read when it is asked for."""
        ...

    def prefetch(self, experts: Sequence[int]) -> None:
        """Begin to read the paths of experts that will be asked for next."""
        ...


@dataclass(frozen=True)
class PhaseProblem:
    """What the outer loop of a phase works on.

    Attributes:
        number: the phase's number, from 1.
        phase: its settings.
        config: the distillation's settings.
        seed: seed of the distillation.
        factory: draws the dropout masks, and says which device to use.
        model: the structure of the student.
        tower: the frozen image tower, or None when the tower is part of the student.
        paths: the teachers' paths.
        initial: what is learned, at its start.
        constant_factors: factors of the similarity that are not learned.
        ranks: the processes that share the stretches of a step; all hold the same state.
        objective: compares pairs directly, in place of trajectories; None matches trajectories.
    """

    number: int
    phase: PhaseConfig
    config: DistillConfig
    seed: int
    factory: ModelFactory
    model: DualEncoder
    tower: nn.Module | None
    paths: TeacherPaths
    initial: Learned
    constant_factors: dict[str, Tensor]
    ranks: Ranks = Ranks()
    objective: DirectObjective | None = None


@dataclass
class PhaseState:
    """Where the outer loop stands; all of it goes into a checkpoint.

    Attributes:
        step: outer steps done.
        learned: the live values.
        average: their exponential moving average (Eq. 7); the live values when `ema` is off.
        optimizer: the outer optimiser over `learned`.
        best: the validated values with the best recall, when validation decides.
        best_recall: their recall; below 0 before the first validation.
        stale: validations since the best.
    """

    step: int
    learned: Learned
    average: Learned
    optimizer: torch.optim.Optimizer
    best: Learned
    best_recall: float = -1.0
    stale: int = 0


@dataclass(frozen=True)
class StepReport:
    """What one outer step shows.

    Attributes:
        phase: the phase's number.
        stage: what is distilled: `pixels`, or `features` in the warm start of features first.
        step: the step's number in its stage, from 1.
        steps: steps of the stage.
        losses: matching loss by part, the mean over the stretches.
        experts: the expert of each stretch.
        start_epochs: the start of each stretch, in epochs.
        inner_lr_image: learned rate of the image side, after the step.
        inner_lr_text: learned rate of the text side, after the step.
    """

    phase: int
    stage: Literal["pixels", "features"]
    step: int
    steps: int
    losses: dict[str, float]
    experts: list[int]
    start_epochs: list[float]
    inner_lr_image: float
    inner_lr_text: float


@dataclass(frozen=True)
class Stretch:
    """What an outer step draws: a stretch of a teacher, and how the student goes along it.

    Attributes:
        expert: the expert.
        epoch: the start, in epochs; the target is `matching_span` epochs later.
        steps: the inner steps.
    """

    expert: int
    epoch: float
    steps: list[InnerStep]


@dataclass(frozen=True)
class OuterHooks:
    """What the caller wants to know of.

    Attributes:
        on_mode: called once, with the hypergradient's mode and what chose it.
        on_step: called after every outer step.
        validate: called every `validate_every` steps with the values that would be kept and the step's number;
            returns their validation recall.
    """

    on_mode: Callable[[ModeChoice], None]
    on_step: Callable[[StepReport], None]
    validate: Callable[[Learned, int], float]


def distill_phase(problem: PhaseProblem, checkpoint: Path, hooks: OuterHooks) -> Learned:
    """Distil one phase and return what it learned; goes on from `checkpoint` when that exists.

    Raises:
        NumericalError: a value is not finite; the message names step and tensor, the last checkpoint is kept.
        ArtifactError: the checkpoint is damaged or belongs to another phase.
    """
    config, steps = problem.config, problem.phase.outer_steps
    state = _start(problem)
    if problem.ranks.from_main(checkpoint.is_file):
        _restore(state, problem, checkpoint)
    choice = ModeChoice("exact_store")
    if problem.objective is None:
        choice = _choose_mode(state, problem)
        hooks.on_mode(choice)
    while state.step < steps and not _exhausted(state, config):
        hooks.on_step(_advance(state, problem, choice.mode))
        if config.validate_every and (state.step % config.validate_every == 0 or state.step == steps):
            _observe(state, hooks.validate(_kept(state, problem.config), state.step), config)
        due = state.step % config.checkpoint_every == 0 or state.step == steps or _exhausted(state, config)
        if due and problem.ranks.is_main:
            _save(state, problem, checkpoint)
    if config.patience:
        return state.best
    return _kept(state, config)


def _exhausted(state: PhaseState, config: DistillConfig) -> bool:
    return config.patience > 0 and state.stale >= config.patience


def _kept(state: PhaseState, config: DistillConfig) -> Learned:
    return state.average if config.ema else {name: value.detach() for name, value in state.learned.items()}


def _observe(state: PhaseState, recall: float, config: DistillConfig) -> None:
    if recall > state.best_recall:
        state.best = {name: value.detach().clone() for name, value in _kept(state, config).items()}
        state.best_recall, state.stale = recall, 0
    else:
        state.stale += 1


def _start(problem: PhaseProblem) -> PhaseState:
    device = problem.factory.device
    learned = {name: value.to(device).clone().requires_grad_() for name, value in problem.initial.items()}
    average = {name: value.detach().clone() for name, value in learned.items()}
    best = {name: value.clone() for name, value in average.items()}
    optimizer = _outer_optimizer(learned, problem.config.outer, problem.config.characteristic.lr_sampler)
    return PhaseState(0, learned, average, optimizer, best)


def _outer_optimizer(learned: Learned, config: OuterConfig, lr_adversary: float) -> torch.optim.Optimizer:
    """Build the outer optimiser with a rate for each kind of variable, in the units that the settings name."""
    relative = config.rate_unit == "relative"
    groups = []
    for name, value in learned.items():
        if name in ("images", "texts"):
            rate = config.lr_images if name == "images" else config.lr_texts
            scale = float(value.detach().std()) if relative else 1.0
        elif name.startswith(SIMILARITY):
            rate, scale = config.lr_similarity, 1.0
        elif name.startswith(ADVERSARY):
            rate, scale = lr_adversary, 1.0
        else:
            rate = config.lr_inner_lr
            scale = float(value.detach()) if relative else 1.0
        groups.append({"params": [value], "lr": rate * scale})
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum)
    return torch.optim.Adam(groups, lr=0.0, betas=config.betas)


def _advance(state: PhaseState, problem: PhaseProblem, mode: Mode) -> StepReport:
    """Do one outer step in place."""
    config, phase, ranks = problem.config, problem.phase, problem.ranks
    stretches: list[Stretch] = []
    if problem.objective is not None:
        losses = _set_direct_gradients(problem, problem.objective, state.learned, state.step)
    else:
        stretches = draw_stretches(problem, state.step)
        upcoming = draw_stretches(problem, state.step + 1) if state.step + 1 < phase.outer_steps else []
        mine = ranks.share(stretches)
        problem.paths.prefetch([stretch.expert for stretch in [*ranks.share(upcoming), *mine]])
        losses = _set_gradients(problem, state.learned, mine, mode)
    losses = _mean_over_ranks(ranks, state.learned, losses)
    state.step += 1
    _check(losses, "matching loss", problem.number, state.step)
    _check({n: v.grad for n, v in state.learned.items() if v.grad is not None}, "gradient", problem.number, state.step)
    state.optimizer.step()
    _check(state.learned, "value", problem.number, state.step)
    with torch.no_grad():
        for name, value in state.learned.items():
            # Eq. 7; written so that the average is exact when value and average agree
            state.average[name].lerp_(value, 1 - config.ema_decay)
    rates = {side: float(state.learned[f"inner_lr_{side}"].detach()) for side in ("image", "text")}
    if min(rates.values()) <= 0:
        raise NumericalError(
            f"phase {problem.number}, step {state.step}: a learned inner rate fell to {min(rates.values()):.4g}; "
            "lower distill.outer.lr_inner_lr"
        )
    return StepReport(
        problem.number,
        "pixels" if state.learned["images"].ndim == 4 else "features",
        state.step,
        phase.outer_steps,
        {part: float(value) for part, value in losses.items()},
        [stretch.expert for stretch in stretches],
        [stretch.epoch for stretch in stretches],
        rates["image"],
        rates["text"],
    )


def draw_stretches(problem: PhaseProblem, step: int) -> list[Stretch]:
    """Return the stretches of an outer step (from 0); the same whenever they are drawn."""
    config, phase, device = problem.config, problem.phase, problem.factory.device
    draw = generator(problem.seed, "phase", problem.number, "step", step)
    stretches = []
    for _ in range(config.trajectories_per_step):
        expert = int(torch.randint(len(problem.paths), (), generator=draw))
        epoch = _draw_start(config, phase, step, draw)
        batches = draw_batches(phase.num_pairs, config.batch_size, config.inner_steps, draw)
        steps = [InnerStep(index.to(device), _draw_masks(problem, len(index), draw)) for index in batches]
        stretches.append(Stretch(expert, epoch, steps))
    return stretches


def _draw_start(config: DistillConfig, phase: PhaseConfig, step: int, draw: torch.Generator) -> float:
    first, last = phase.range_start, config.last_start(phase)
    growing = config.range_growth * phase.outer_steps
    share = 1.0 if step >= growing else step / growing
    if config.start_sampling == "continuous":
        return first + (last - first) * share * float(torch.rand((), generator=draw))
    return int(torch.randint(first, first + int((last - first) * share) + 1, (), generator=draw))


def _draw_masks(problem: PhaseProblem, pairs: int, draw: torch.Generator) -> DropoutMasks | None:
    masks = problem.factory.draw_masks(pairs, draw)
    if not problem.config.blend:
        return masks
    device = problem.factory.device
    # Beta(1, 1) is uniform
    blend = Blend(torch.rand((), generator=draw).to(device), torch.randperm(pairs, generator=draw).to(device))
    return replace(masks or DropoutMasks(None, None), blend=blend)


def _mean_over_ranks(ranks: Ranks, learned: Learned, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Average the gradients of everything learned over the ranks, in place, and return the averaged losses.

    The gradients are averaged last of all, behind the frozen tower: every rank moves by the same bits, so that they
    cannot drift apart where the tower's own gradient is not deterministic.
    """
    gradients = {name: value.grad for name, value in learned.items() if value.grad is not None}
    found = ranks.mean({**gradients, **{f"loss/{part}": value for part, value in losses.items()}})
    for name in gradients:
        learned[name].grad = found[name]
    return {part: found[f"loss/{part}"] for part in losses}


def _set_gradients(
    problem: PhaseProblem, learned: Learned, stretches: Sequence[Stretch], mode: Mode
) -> dict[str, Tensor]:
    """Leave the hypergradient, averaged over the stretches, in `.grad` of everything learned; return the losses.

    A frozen tower is run once: the inner loops see its features, and one vector-Jacobian product takes their
    gradient back to the pixels.
    """
    images, data, rates = learned["images"], *_as_the_student_sees(problem, learned)
    inputs, similarity = data.images, data.similarity
    found = mean_hypergradient(
        [
            hypergradient(_inner_loop(problem, data, rates, stretch), mode, problem.config.hypergradient.derivative)
            for stretch in stretches
        ]
    )
    factors = [value for name, value in learned.items() if name.startswith(SIMILARITY)]
    outputs = [inputs, similarity] if factors else [inputs]
    gradients = torch.autograd.grad(outputs, [images, *factors], [found.images, found.similarity][: len(outputs)])
    for value, gradient in zip([images, *factors], gradients, strict=True):
        value.grad = gradient
    learned["texts"].grad = found.texts
    learned["inner_lr_image"].grad = found.inner_lr_image
    learned["inner_lr_text"].grad = found.inner_lr_text
    return found.losses


def _set_direct_gradients(
    problem: PhaseProblem, objective: DirectObjective, learned: Learned, step: int
) -> dict[str, Tensor]:
    """Leave the gradient of a direct objective in `.grad`, the adversary's turned round; return the losses."""
    data, _ = _as_the_student_sees(problem, learned)
    adversary = {name: value for name, value in learned.items() if name.startswith(ADVERSARY)}
    against = {name.removeprefix(ADVERSARY): value for name, value in adversary.items()}
    draw = generator(problem.seed, "phase", problem.number, "step", step)
    losses = objective.losses(DirectStep(data.images, data.texts, against, draw))
    wanted = {"images": learned["images"], "texts": learned["texts"], **adversary}
    found = torch.autograd.grad(torch.stack(list(losses.values())).sum(), list(wanted.values()))
    for (name, value), gradient in zip(wanted.items(), found, strict=True):
        value.grad = -gradient if name in adversary else gradient
    return {part: value.detach() for part, value in losses.items()}


def _as_the_student_sees(problem: PhaseProblem, learned: Learned) -> tuple[InnerData, InnerRates]:
    """Return inputs of the inner loop, with the graph that leads back to what is learned."""
    images = learned["images"]
    if problem.tower is None:
        inputs = to_channels_last(images) if images.ndim == 4 else images
    else:
        inputs = torch.cat([problem.tower(to_channels_last(chunk)) for chunk in images.split(TOWER_CHUNK)])
    similarity = compose_similarity(similarity_factors(learned, problem.constant_factors), len(images))
    rates = InnerRates(learned["inner_lr_image"], learned["inner_lr_text"])
    return InnerData(inputs, learned["texts"], similarity), rates


def _choose_mode(state: PhaseState, problem: PhaseProblem) -> ModeChoice:
    """Choose the hypergradient's mode, for `auto` from the graph of the phase's first inner step."""
    config = problem.config

    def build_one_graph() -> StepGraph:
        stretch = draw_stretches(problem, 0)[0]
        with torch.no_grad():
            data, rates = _as_the_student_sees(problem, state.learned)
        loop = _inner_loop(problem, data, rates, stretch)
        return step_graph(loop.loss, loop.start, loop.data, loop.steps[0])

    return choose_mode(config.hypergradient, build_one_graph, config.inner_steps, problem.factory.device)


def _inner_loop(problem: PhaseProblem, data: InnerData, rates: InnerRates, stretch: Stretch) -> InnerLoop:
    """Return the student's way along one stretch."""

    def loss(parameters: Parameters, x: Tensor, y: Tensor, s: Tensor, masks: DropoutMasks | None) -> Tensor:
        return pair_loss(problem.model, parameters, (x, y, s), problem.config.loss, masks)

    path = problem.paths[stretch.expert]
    start, target = path.at(stretch.epoch), path.at(stretch.epoch + problem.config.matching_span)

    def matching(end: Parameters) -> dict[str, Tensor]:
        return matching_losses(end, start, target, problem.config.matching)

    return InnerLoop(loss, start, data, rates, stretch.steps, matching, _micro_batches(problem))


def _micro_batches(problem: PhaseProblem) -> MicroBatches | None:
    size = problem.config.hypergradient.micro_batch
    if size is None:
        return None

    def loss(parameters: Parameters, u: Tensor, y: Tensor, s: Tensor, masks: DropoutMasks | None) -> Tensor:
        return embedded_pair_loss(problem.model, parameters, (u, y, s), problem.config.loss, masks)

    return MicroBatches(size, partial(embed_images, problem.model), loss)


def similarity_factors(learned: Mapping[str, Tensor], constant: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the learned and the constant factors of the similarity, under their plain names."""
    factors = {name.removeprefix(SIMILARITY): v for name, v in learned.items() if name.startswith(SIMILARITY)}
    return {**factors, **({name: v.to(learned["images"].device) for name, v in constant.items()} if factors else {})}


def _check(values: Mapping[str, Tensor], what: str, phase: int, step: int) -> None:
    for name, value in values.items():
        if not bool(value.isfinite().all()):
            raise NumericalError(
                f"phase {phase}, step {step}: the {what} of {name} is not finite; the last checkpoint is kept. "
                "Lower the rates in distill.outer"
            )


def _save(state: PhaseState, problem: PhaseProblem, checkpoint: Path) -> None:
    tensors = {f"learned/{name}": value for name, value in state.learned.items()}
    tensors |= {f"average/{name}": value for name, value in state.average.items()}
    tensors |= {f"best/{name}": value for name, value in state.best.items()}
    for name, value in state.learned.items():
        for key, content in state.optimizer.state.get(value, {}).items():
            if isinstance(content, Tensor):
                tensors[f"optimizer/{name}/{key}"] = content
    progress = {"phase": problem.number, "step": state.step, "best_recall": state.best_recall, "stale": state.stale}
    save_tensors(checkpoint, tensors, {"kind": "checkpoint", "progress": json.dumps(progress)})


def _restore(state: PhaseState, problem: PhaseProblem, checkpoint: Path) -> None:
    """Fill `state` from a checkpoint, in place."""
    with open_tensors(checkpoint) as stored:
        header = stored.metadata() or {}
        if header.get("kind") != "checkpoint":
            raise ArtifactError(f"{checkpoint} is not a checkpoint; delete it to start the phase anew")
        progress = json.loads(header["progress"])
        if progress["phase"] != problem.number:
            raise ArtifactError(f"{checkpoint} is of phase {progress['phase']}, not {problem.number}; delete it")
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dict
    with torch.no_grad():
        for name, value in state.learned.items():
            value.copy_(tensors[f"learned/{name}"])
            state.average[name].copy_(tensors[f"average/{name}"])
            state.best[name].copy_(tensors[f"best/{name}"])
            prefix = f"optimizer/{name}/"
            moments = {key.removeprefix(prefix): v for key, v in tensors.items() if key.startswith(prefix)}
            if moments:
                # Adam keeps its step count on the CPU, its moments with the parameter
                state.optimizer.state[value] = {k: v if k == "step" else v.to(value.device) for k, v in moments.items()}
    state.step, state.best_recall, state.stale = progress["step"], progress["best_recall"], progress["stale"]
