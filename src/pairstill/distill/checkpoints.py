"""Checkpoints of a phase: the newest and the one before it, so that there is always one that is whole."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pairstill.core.errors import ArtifactError
from pairstill.distill.learned import Learned
from pairstill.distill.objective import Objective
from pairstill.events import CheckpointDamaged, Emit
from pairstill.storage import load_tensors, open_tensors, save_tensors, writing


@dataclass
class PhaseState:
    """Where the outer loop stands; all of it goes into a checkpoint.

    Attributes:
        step: outer steps done.
        learned: the live values.
        average: their exponential moving average (Eq. 7); the live values when `ema` is off.
        optimizer: the outer optimiser over `learned`.
        best: the validated values with the best recall, when validation decides.
        objective: what moves them, with its state.
        best_recall: their recall; below 0 before the first validation.
        stale: validations since the best.
    """

    step: int
    learned: Learned
    average: Learned
    optimizer: torch.optim.Optimizer
    best: Learned
    objective: Objective
    best_recall: float = -1.0
    stale: int = 0


def save_checkpoint(state: PhaseState, phase: int, checkpoint: Path) -> None:
    """Write a checkpoint; the one that was there becomes the previous one.

    Raises:
        StorageError: it cannot be written; the previous one is whole.
    """
    tensors = {f"learned/{name}": value for name, value in state.learned.items()}
    tensors |= {f"average/{name}": value for name, value in state.average.items()}
    tensors |= {f"best/{name}": value for name, value in state.best.items()}
    tensors |= {f"objective/{name}": value for name, value in state.objective.state_dict().items()}
    for name, value in state.learned.items():
        for key, content in state.optimizer.state.get(value, {}).items():
            if isinstance(content, Tensor):
                tensors[f"optimizer/{name}/{key}"] = content
    progress = {"phase": phase, "step": state.step, "best_recall": state.best_recall, "stale": state.stale}
    if checkpoint.is_file():
        with writing(checkpoint):
            checkpoint.replace(_previous(checkpoint))
    save_tensors(checkpoint, tensors, {"kind": "checkpoint", "progress": json.dumps(progress)})


def last_whole(checkpoint: Path, emit: Emit) -> Path | None:
    """Return the newest checkpoint that is whole, or None if there is none at all; damaged newer ones are deleted.

    Args:
        checkpoint: the file of the newest.
        emit: told what is wrong with the newest, when there is one before it to go on from.

    Raises:
        ArtifactError: none is whole.
    """
    found = [path for path in (checkpoint, _previous(checkpoint)) if path.is_file()]
    for path in found:
        try:
            load_tensors(path)
        except ArtifactError as error:
            if path == found[-1]:
                raise
            said = f"{error}. It is deleted, and the phase goes on from the checkpoint before it"
            emit(CheckpointDamaged(problem=said))
            path.unlink()  # the next one would otherwise take it for a good one, and replace the one before it
        else:
            return path
    return None


def discard_checkpoints(checkpoint: Path) -> None:
    """Delete the checkpoints of a phase that is done."""
    checkpoint.unlink(missing_ok=True)
    _previous(checkpoint).unlink(missing_ok=True)


def restore_checkpoint(state: PhaseState, phase: int, checkpoint: Path) -> None:
    """Fill `state` from a checkpoint, in place.

    Raises:
        ArtifactError: it is of another phase, or no checkpoint.
    """
    with open_tensors(checkpoint) as stored:
        header = stored.metadata()
        if header.get("kind") != "checkpoint":
            raise ArtifactError(f"{checkpoint} is not a checkpoint; delete it to start the phase anew")
        progress = json.loads(header["progress"])
        if progress["phase"] != phase:
            raise ArtifactError(f"{checkpoint} is of phase {progress['phase']}, not {phase}; delete it")
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dict
    with torch.no_grad():
        for name, value in state.learned.items():
            value.copy_(tensors[f"learned/{name}"])
            state.average[name].copy_(tensors[f"average/{name}"])
            state.best[name].copy_(tensors[f"best/{name}"])
            if moments := _below(f"optimizer/{name}/", tensors):
                # Adam keeps its step count on the CPU, its moments with the parameter
                state.optimizer.state[value] = {k: v if k == "step" else v.to(value.device) for k, v in moments.items()}
    state.objective.load_state_dict(_below("objective/", tensors))
    state.step, state.best_recall, state.stale = progress["step"], progress["best_recall"], progress["stale"]


def _below(folder: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a folder in the file, under their names there."""
    return {name.removeprefix(folder): value for name, value in tensors.items() if name.startswith(folder)}


def _previous(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(f".previous{checkpoint.suffix}")
