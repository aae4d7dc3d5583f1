"""Which device computes, and in what precision."""

from collections.abc import Callable
from typing import Literal

import torch

from pairstill.core.errors import ConfigError
from pairstill.core.world import World

Precision = Literal["float32", "tf32", "bfloat16"]


def gpus_here() -> int:
    """Return the number of GPUs that can be used."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def choose_device(name: str, world: World | None = None, *, count_gpus: Callable[[], int] = gpus_here) -> torch.device:
    """Return the device that the settings name: `auto`, `cpu`, `cuda`, `cuda:1`, ...; of several ranks, each its own.

    Args:
        name: the setting.
        world: the processes of the run.
        count_gpus: returns how many GPUs there are; asked where it matters.

    Raises:
        ConfigError: there is no such device, or not one for each rank.
    """
    if name == "auto":
        name = "cuda" if count_gpus() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device is {name!r}; allowed are auto, cpu, cuda, cuda:0, ...") from error
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise ConfigError(f"device is {name!r}; allowed are auto, cpu, cuda, cuda:0, ...")
    if device.type == "cpu":
        return device
    gpus = count_gpus()
    if not gpus:
        raise ConfigError(f"device is {name!r} but no GPU is available; use --device cpu")
    if device.index is not None and device.index >= gpus:
        raise ConfigError(f"device is {name!r} but there are {gpus} GPUs, counted from 0")
    return _own_gpu(device, world, gpus) if world is not None and world.size > 1 else device


def _own_gpu(device: torch.device, world: World, gpus: int) -> torch.device:
    """Return the GPU of this rank: NCCL refuses two ranks on one."""
    if device.index is not None and world.local_size > 1:
        raise ConfigError(f"device is {device} but {world.local_size} processes run on this machine; use --device auto")
    if device.index is not None:
        return device
    if world.local_rank >= gpus:
        raise ConfigError(
            f"{world.local_size} processes run on this machine but it has {gpus} GPUs; "
            "start one for each GPU (--nproc_per_node), or use --device cpu"
        )
    return torch.device("cuda", world.local_rank)


def check_precision(precision: Precision, device: torch.device) -> None:
    """Refuse a trained tower's precision that its device does not have.

    Raises:
        ConfigError: the device has no such precision, or none that can be relied on.
    """
    if precision != "float32" and device.type != "cuda":
        raise ConfigError(
            f"image.precision is {precision} but the device is {device}; CPUs have no TF32, and their bfloat16 "
            "convolutions were seen to return values that are not finite; use float32"
        )
