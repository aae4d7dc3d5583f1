"""The outer loop of one phase: hypergradients move the distilled pairs, an average of them is kept.

All randomness of a step derives from the seed, the phase and the step's number, so a checkpoint holds tensors only
and a killed run goes on to the same bits.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pairstill.config import DistillConfig, OuterConfig
from pairstill.distill.direct import ADVERSARY
from pairstill.distill.gradients import mean_over_ranks, mode_for, set_direct_gradients, set_gradients
from pairstill.distill.hypergradient import Mode
from pairstill.distill.memory import ModeChoice
from pairstill.distill.problem import SIMILARITY, Learned, PhaseProblem
from pairstill.distill.stretches import Stretch, draw_stretches
from pairstill.errors import ArtifactError, NumericalError
from pairstill.storage import open_tensors, save_tensors


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
        choice = mode_for(state.learned, problem)
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
        losses = set_direct_gradients(problem, problem.objective, state.learned, state.step)
    else:
        stretches = draw_stretches(problem, state.step)
        upcoming = draw_stretches(problem, state.step + 1) if state.step + 1 < phase.outer_steps else []
        mine = ranks.share(stretches)
        problem.paths.prefetch([stretch.expert for stretch in [*ranks.share(upcoming), *mine]])
        losses = set_gradients(problem, state.learned, mine, mode)
    losses = mean_over_ranks(ranks, state.learned, losses)
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
