"""The outer loop of one phase: hypergradients move the distilled pairs, an average of them is kept.

All randomness of a step derives from the seed, the phase and the step's number, so a checkpoint holds tensors only
and a killed run goes on to the same bits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import torch
from torch import Tensor

from pairstill.config import DistillConfig, OuterConfig
from pairstill.distill.checkpoints import PhaseState, last_whole, restore_checkpoint, save_checkpoint
from pairstill.distill.direct import ADVERSARY, DirectObjective
from pairstill.distill.gradients import mean_over_ranks, set_direct_gradients, set_gradients, solver_for
from pairstill.distill.problem import SIMILARITY, Learned, PhaseProblem
from pairstill.distill.solvers import Choice, ExactStore, Solver
from pairstill.distill.stretches import Stretch, draw_stretches
from pairstill.errors import NumericalError


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
class OuterHooks:
    """What the caller wants to know of.

    Attributes:
        on_mode: called once, with the hypergradient's mode and what chose it.
        on_step: called after every outer step.
        validate: called every `validate_every` steps with the values that would be kept and the step's number;
            returns their validation recall.
        on_damage: called with what is wrong with the newest checkpoint, when the phase goes on from the one before it.
    """

    on_mode: Callable[[Choice], None]
    on_step: Callable[[StepReport], None]
    validate: Callable[[Learned, int], float]
    on_damage: Callable[[str], None] = lambda message: None


def distill_phase(problem: PhaseProblem, checkpoint: Path, hooks: OuterHooks) -> Learned:
    """Distil one phase and return what it learned; goes on from `checkpoint` when that exists.

    Raises:
        NumericalError: a value is not finite; the message names step and tensor, the last checkpoint is kept.
        ArtifactError: no checkpoint is whole, or it belongs to another phase.
        StorageError: a checkpoint cannot be written; the one before it is whole.
    """
    config, steps = problem.config, problem.phase.outer_steps
    state = _start(problem)
    found = problem.ranks.from_main(lambda: last_whole(checkpoint, hooks.on_damage))
    if found is not None:
        restore_checkpoint(state, problem.number, found)
    choice = Choice(ExactStore())
    if problem.objective is None:
        choice = solver_for(state.learned, problem)
        hooks.on_mode(choice)
    while state.step < steps and not _exhausted(state, config):
        hooks.on_step(_advance(state, problem, choice.solver))
        if config.validate_every and (state.step % config.validate_every == 0 or state.step == steps):
            _observe(state, hooks.validate(_kept(state, problem.config), state.step), config)
        due = state.step % config.checkpoint_every == 0 or state.step == steps or _exhausted(state, config)
        if due and problem.ranks.is_main:
            save_checkpoint(state, problem.number, checkpoint)
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
        decay = config.weight_decay if config.optimizer == "adamw" and name in ("images", "texts") else 0.0
        groups.append({"params": [value], "lr": rate * scale, "weight_decay": decay})
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum)
        case "adam":
            return torch.optim.Adam(groups, lr=0.0, betas=config.betas)
        case "adamw":
            return torch.optim.AdamW(groups, lr=0.0, betas=config.betas)
        case _:
            assert_never(config.optimizer)


def _advance(state: PhaseState, problem: PhaseProblem, solver: Solver) -> StepReport:
    """Do one outer step in place."""
    config, phase = problem.config, problem.phase
    stretches: list[Stretch] = []
    if problem.objective is not None:
        losses = _take_turns(state, problem, problem.objective)
    else:
        stretches = draw_stretches(problem, state.step)
        upcoming = draw_stretches(problem, state.step + 1) if state.step + 1 < phase.outer_steps else []
        mine = problem.ranks.share(stretches)
        problem.paths.prefetch([stretch.expert for stretch in [*problem.ranks.share(upcoming), *mine]])
        losses = _move(state, problem, set_gradients(problem, state.learned, mine, solver))
    state.step += 1
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


def _take_turns(state: PhaseState, problem: PhaseProblem, objective: DirectObjective) -> dict[str, Tensor]:
    """Move everything learned once in every turn of an objective, and return the losses, the mean over the turns."""
    found = [
        _move(state, problem, set_direct_gradients(problem, objective, state.learned, state.step, turn))
        for turn in range(objective.turns)
    ]
    return {part: torch.stack([losses[part] for losses in found]).mean() for part in found[0]}


def _move(state: PhaseState, problem: PhaseProblem, losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Move everything learned by its gradients, averaged over the ranks, and return the losses, averaged too."""
    number, step = problem.number, state.step + 1
    losses = mean_over_ranks(problem.ranks, state.learned, losses)
    _check(losses, "matching loss", number, step)
    _check({n: v.grad for n, v in state.learned.items() if v.grad is not None}, "gradient", number, step)
    state.optimizer.step()
    if problem.feature_range is not None:
        problem.feature_range.clamp_(state.learned["images"])
    _check(state.learned, "value", number, step)
    return losses


def _check(values: Mapping[str, Tensor], what: str, phase: int, step: int) -> None:
    for name, value in values.items():
        if not bool(value.isfinite().all()):
            raise NumericalError(
                f"phase {phase}, step {step}: the {what} of {name} is not finite; the last checkpoint is kept. "
                "Lower the rates in distill.outer"
            )
