"""The outer loop of one phase: an objective moves what is learned, an average of it is kept.

All randomness of a step derives from the seed, the phase and the step's number, so a checkpoint holds tensors only
and a killed run goes on to the same bits.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor

from pairstill.config import OuterConfig, TrajectoryConfig
from pairstill.core.errors import NumericalError
from pairstill.core.world import World
from pairstill.distill.checkpoints import PhaseState, last_whole, restore_checkpoint, save_checkpoint
from pairstill.distill.learned import Learned, Variable, initial_values
from pairstill.distill.objective import Deciding, Objective, Step
from pairstill.events import Emit, OuterStep, Space, Validated, silent


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How the outer loop goes, whatever it distils.

    Attributes:
        steps: outer steps.
        outer: the optimiser; rates are the variables' own.
        ema: whether the moving average of what is learned is kept, instead of the last values.
        ema_decay: its decay.
        checkpoint_every: outer steps between checkpoints.
        validate_every: outer steps between validations; 0 never validates.
        patience: validations without a better recall after which the loop stops and keeps the best; 0 goes to the end.
    """

    steps: int
    outer: OuterConfig
    ema: bool
    ema_decay: float
    checkpoint_every: int
    validate_every: int
    patience: int

    @staticmethod
    def of(config: TrajectoryConfig, steps: int) -> "LoopSettings":
        """Return them from a distillation's settings."""
        return LoopSettings(
            steps=steps,
            outer=config.outer,
            ema=config.ema,
            ema_decay=config.ema_decay,
            checkpoint_every=config.checkpoint_every,
            validate_every=config.validate_every,
            patience=config.patience,
        )


@dataclass(frozen=True)
class PhaseProblem:
    """What the outer loop works on.

    Attributes:
        number: the phase's number, from 1.
        objective: what moves everything learned.
        settings: how the loop goes.
        device: where everything learned is.
        world: the processes over which gradients are averaged; all hold the same values.
        stage: what is distilled: `pixels`, or `features` in the warm start of features first.
        validate: returns the validation recall of what would be kept, in percent.
    """

    number: int
    objective: Objective
    settings: LoopSettings
    device: torch.device
    world: World = World()
    stage: Space = "pixels"
    validate: Callable[[Learned], float] = lambda learned: 0.0


def distill_phase(problem: PhaseProblem, checkpoint: Path, emit: Emit = silent) -> Learned:
    """Distil one phase and return what it learned; goes on from `checkpoint` when that exists.

    Args:
        problem: what is distilled.
        checkpoint: its file.
        emit: told of steps and validations, of what the objective has decided, and of a damaged checkpoint.

    Raises:
        NumericalError: a value is not finite; the message names step and tensor, the last checkpoint is kept.
        ArtifactError: no checkpoint is whole, or it belongs to another phase.
        StorageError: a checkpoint cannot be written; the one before it is whole.
    """
    settings, steps = problem.settings, problem.settings.steps
    variables = problem.objective.variables()
    state = _start(problem, variables)
    found = problem.world.from_main(lambda: last_whole(checkpoint, emit))
    if found is not None:
        restore_checkpoint(state, problem.number, found)
    _tell_decisions(problem, state, emit)
    while state.step < steps and not _exhausted(state, settings):
        emit(_advance(state, problem, variables))
        if settings.validate_every and (state.step % settings.validate_every == 0 or state.step == steps):
            recall = problem.validate(_kept(state, settings))
            emit(Validated(phase=problem.number, step=state.step, validation_mean_recall=recall))
            _observe(state, recall, settings)
        due = state.step % settings.checkpoint_every == 0 or state.step == steps or _exhausted(state, settings)
        if due and problem.world.is_main:
            save_checkpoint(state, problem.number, checkpoint)
    if settings.patience:
        return state.best
    return _kept(state, settings)


def _tell_decisions(problem: PhaseProblem, state: PhaseState, emit: Emit) -> None:
    """Tell what the objective has decided, if a step of pixels will follow it."""
    left = state.step < problem.settings.steps and not _exhausted(state, problem.settings)
    if left and problem.stage == "pixels" and isinstance(problem.objective, Deciding):
        for decided in problem.objective.decisions():
            emit(decided)


def _exhausted(state: PhaseState, settings: LoopSettings) -> bool:
    return settings.patience > 0 and state.stale >= settings.patience


def _kept(state: PhaseState, settings: LoopSettings) -> Learned:
    return state.average if settings.ema else {name: value.detach() for name, value in state.learned.items()}


def _observe(state: PhaseState, recall: float, settings: LoopSettings) -> None:
    if recall > state.best_recall:
        state.best = {name: value.detach().clone() for name, value in _kept(state, settings).items()}
        state.best_recall, state.stale = recall, 0
    else:
        state.stale += 1


def _start(problem: PhaseProblem, variables: Mapping[str, Variable]) -> PhaseState:
    learned = {n: v.to(problem.device).clone().requires_grad_() for n, v in initial_values(variables).items()}
    average = {name: value.detach().clone() for name, value in learned.items()}
    best = {name: value.clone() for name, value in average.items()}
    optimizer = outer_optimizer(learned, variables, problem.settings.outer)
    return PhaseState(0, learned, average, optimizer, best, problem.objective)


def outer_optimizer(learned: Learned, variables: Mapping[str, Variable], config: OuterConfig) -> torch.optim.Optimizer:
    """Build the outer optimiser, with each variable's own rate."""
    decay = config.weight_decay if config.optimizer == "adamw" else 0.0
    groups = [
        {
            "params": [learned[name]],
            "lr": variable.rate * variable.scale,
            "weight_decay": decay if variable.decays else 0.0,
        }
        for name, variable in variables.items()
    ]
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum)
        case "adam":
            return torch.optim.Adam(groups, lr=0.0, betas=config.betas)
        case "adamw":
            return torch.optim.AdamW(groups, lr=0.0, betas=config.betas)
        case _:
            assert_never(config.optimizer)


def _advance(state: PhaseState, problem: PhaseProblem, variables: Mapping[str, Variable]) -> OuterStep:
    """Do one outer step in place."""
    settings = problem.settings
    moves, notes = [], {}
    for move in _on_all_ranks(problem.objective.step(state.learned, state.step), problem.world):
        moves.append(_move(state, problem, variables, move))
        notes |= move.notes
    state.step += 1
    with torch.no_grad():
        for name, value in state.learned.items():
            # Eq. 7; written so that the average is exact when value and average agree
            state.average[name].lerp_(value, 1 - settings.ema_decay)
    rates = {name: float(state.learned[name].detach()) for name, variable in variables.items() if variable.positive}
    if rates and min(rates.values()) <= 0:
        raise NumericalError(
            f"phase {problem.number}, step {state.step}: a learned inner rate fell to {min(rates.values()):.4g}; "
            "lower distill.outer.lr_inner_lr"
        )
    losses = {part: float(torch.stack([losses[part] for losses in moves]).mean()) for part in moves[0]}
    return OuterStep(
        phase=problem.number,
        stage=problem.stage,
        step=state.step,
        steps=settings.steps,
        losses=losses,
        notes=notes,
        rates=rates,
    )


def _on_all_ranks(moves: Iterable[Step], world: World) -> Iterator[Step]:
    """Yield moves, which each rank computes from its share; a value that is not finite on one ends them on all."""
    moves = iter(moves)
    while True:
        move, wrong = None, None
        try:
            move = next(moves, None)
        except NumericalError as error:
            wrong = error
        world.agree(wrong)
        if move is None:
            return
        yield move


def _move(state: PhaseState, problem: PhaseProblem, variables: Mapping[str, Variable], move: Step) -> dict[str, Tensor]:
    """Move everything learned by its gradients, averaged over the ranks, and return the losses, averaged too.

    The gradients are averaged last of all, behind the frozen tower: every rank moves by the same bits, so that they
    cannot drift apart where the tower's own gradient is not deterministic.
    """
    number, step = problem.number, state.step + 1
    gradients = {n: -g if variables[n].ascends else g for n, g in move.gradients.items()}
    found = problem.world.mean({**gradients, **{f"loss/{part}": value for part, value in move.losses.items()}})
    losses = {part: found[f"loss/{part}"] for part in move.losses}
    _check(losses, "matching loss", number, step)
    _check({name: found[name] for name in gradients}, "gradient", number, step)
    for name, value in state.learned.items():
        value.grad = found[name] if name in gradients else None
    state.optimizer.step()
    for name, variable in variables.items():
        if variable.project is not None:
            variable.project(state.learned[name])
    _check(state.learned, "value", number, step)
    return losses


def _check(values: Mapping[str, Tensor], what: str, phase: int, step: int) -> None:
    for name, value in values.items():
        if not bool(value.isfinite().all()):
            raise NumericalError(
                f"phase {phase}, step {step}: the {what} of {name} is not finite; the last checkpoint is kept. "
                "Lower the rates in distill.outer"
            )
