"""Recorded trajectories: theta_0, later snapshots as 16-bit displacements from it, and step norms.

On disk an expert is one safetensors file; the image tower's theta_0, which all experts share, is a file beside
them. Files are read lazily, one snapshot at a time.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pairstill.core.errors import ArtifactError, NumericalError
from pairstill.model.dual_encoder import Parameters
from pairstill.storage import load_tensors, open_tensors, save_tensors
from pairstill.storage.checksums import parse_json

SHARED = "shared_initial.safetensors"
SHARED_PREFIX = "image_tower."


@dataclass(frozen=True)
class Trajectory:
    """One expert's trajectory on disk.

    Attributes:
        path: the expert's file.
        layers: names of the parameter tensors, in the order of the rows of `step_norms`.
        epochs: snapshots that are stored, besides theta_0.
        step_norms: |theta_{k+1}^l - theta_k^l|, (layers, epochs of training), float64.
    """

    path: Path
    layers: tuple[str, ...]
    epochs: tuple[int, ...]
    step_norms: Tensor

    @staticmethod
    def open(path: Path) -> "Trajectory":
        """Read the header and the step norms of an expert's file.

        Raises:
            ArtifactError: the file is missing, damaged, or not an expert's.
        """
        with open_tensors(path) as stored:
            header = stored.metadata() or {}
            if header.get("kind") != "trajectory":
                raise ArtifactError(f"{path} is not a trajectory; delete it and run `pairstill teach` again")
            norms = stored.get_tensor("step_norms")
        try:
            layers, epochs = (tuple(parse_json(header[name])) for name in ("layers", "epochs"))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{path} lacks or garbles {error}; delete it and run `pairstill teach` again"
            ) from error
        if norms.ndim != 2 or len(norms) != len(layers) or not all(isinstance(epoch, int) for epoch in epochs):
            raise ArtifactError(f"{path} holds no trajectory of its layers; delete it and run `pairstill teach` again")
        return Trajectory(path, layers, epochs, norms.to(torch.float64))

    def initial(self) -> Parameters:
        """Return theta_0."""
        parameters = dict(load_tensors(self.path.parent / SHARED))
        with open_tensors(self.path) as stored:
            for layer in self.layers:
                if layer not in parameters:
                    parameters[layer] = stored.get_tensor(f"initial/{layer}")
        return {layer: parameters[layer] for layer in self.layers}

    def displacement(self, epoch: int) -> Parameters:
        """Return theta_epoch - theta_0, exact to 16 bits of the largest entry in each layer.

        Raises:
            ArtifactError: the snapshot was not kept.
        """
        if epoch == 0:
            return {layer: torch.zeros_like(value) for layer, value in self.initial().items()}
        if epoch not in self.epochs:
            raise ArtifactError(
                f"{self.path} holds the snapshots {list(self.epochs)}, not {epoch}; train the teachers again "
                "with this endpoint in the phases, or with teacher.keep=all"
            )
        with open_tensors(self.path) as stored:
            scales = stored.get_tensor(f"epoch{epoch:03d}/scales")
            return {
                layer: stored.get_tensor(f"epoch{epoch:03d}/{layer}").float() * scale
                for layer, scale in zip(self.layers, scales, strict=True)
            }

    def snapshot(self, epoch: int) -> Parameters:
        """Return theta_epoch."""
        return {
            layer: value + move
            for (layer, value), move in zip(self.initial().items(), self.displacement(epoch).values(), strict=True)
        }

    def positions(self, layer: str) -> Tensor:
        """Return one layer at the start and at every stored snapshot, flattened, (1 + snapshots, values).

        Raises:
            ArtifactError: the file is damaged.
        """
        number = self.layers.index(layer)
        with open_tensors(self.path) as stored:
            if layer.startswith(SHARED_PREFIX):
                with open_tensors(self.path.parent / SHARED) as shared:
                    initial = shared.get_tensor(layer)
            else:
                initial = stored.get_tensor(f"initial/{layer}")
            moves = [
                stored.get_tensor(f"epoch{epoch:03d}/{layer}").float()
                * stored.get_tensor(f"epoch{epoch:03d}/scales")[number]
                for epoch in self.epochs
            ]
        return torch.stack([initial, *(initial + move for move in moves)]).flatten(1)


def write_shared(folder: Path, initial: Callable[[], Parameters]) -> None:
    """Write what all experts of a folder start from, the image tower's theta_0, unless it is there.

    Args:
        folder: the experts' folder.
        initial: returns theta_0 of any of them; called if need be.
    """
    if not (folder / SHARED).is_file():
        save_tensors(folder / SHARED, _shared(initial()), {"kind": "shared_initial"})


def _shared(initial: Parameters) -> Parameters:
    return {name: value for name, value in initial.items() if name.startswith(SHARED_PREFIX)}


def parameters_after(expert: Path, epoch: int, device: torch.device) -> Parameters:
    """Return theta_epoch of the expert in a file, on a device."""
    return {name: value.to(device) for name, value in Trajectory.open(expert).snapshot(epoch).items()}


class TrajectoryRecorder:
    """Collects the snapshots of one expert while it trains."""

    def __init__(self, initial: Parameters, keep: Sequence[int]) -> None:
        """Start at `initial` (copied) and keep the snapshots after the epochs in `keep`."""
        self._initial = {name: value.detach().cpu().clone() for name, value in initial.items()}
        self._previous = self._initial
        self._keep = frozenset(keep)
        self._kept: dict[int, Parameters] = {}
        self._norms: list[Tensor] = []

    def add(self, parameters: Parameters) -> None:
        """Record the parameters after the next epoch; they are copied.

        Raises:
            NumericalError: a parameter is not finite.
        """
        epoch = len(self._norms) + 1
        now = {name: parameters[name].detach().cpu().clone() for name in self._initial}
        for name, value in now.items():
            if not bool(value.isfinite().all()):
                raise NumericalError(
                    f"teacher: parameter {name} is not finite after epoch {epoch}; lower teacher.lr_image or lr_text"
                )
        steps = [(now[name].double() - self._previous[name].double()).norm() for name in self._initial]
        self._norms.append(torch.stack(steps))
        if epoch in self._keep:
            self._kept[epoch] = now
        self._previous = now

    def save(self, path: Path, about: dict[str, object]) -> None:
        """Write the expert's file, and the shared theta_0 beside it unless it is there."""
        shared = _shared(self._initial)
        write_shared(path.parent, lambda: self._initial)
        tensors = {f"initial/{n}": v for n, v in self._initial.items() if n not in shared}
        tensors["step_norms"] = torch.stack(self._norms, dim=1)
        for epoch, parameters in self._kept.items():
            moves = {name: parameters[name].float() - self._initial[name].float() for name in self._initial}
            # fp16 spans few powers of two below 1: scaled by its largest entry, a layer uses them well
            scales = torch.stack(
                [move.abs().max().clamp_min(torch.finfo(torch.float32).tiny) for move in moves.values()]
            )
            tensors[f"epoch{epoch:03d}/scales"] = scales
            for (name, move), scale in zip(moves.items(), scales, strict=True):
                tensors[f"epoch{epoch:03d}/{name}"] = (move / scale).half()
        header = {
            "kind": "trajectory",
            "layers": json.dumps(list(self._initial)),
            "epochs": json.dumps(sorted(self._kept)),
            "about": json.dumps(about),
        }
        save_tensors(path, tensors, header)
