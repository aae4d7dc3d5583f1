"""How much memory the graphs of the inner steps take, and which exact mode that leaves room for."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairstill.config import HypergradientConfig
from pairstill.distill.hypergradient import Mode


@dataclass(frozen=True)
class ModeChoice:
    """Which mode is used, and the estimate that chose it.

    Attributes:
        mode: the mode.
        stored_bytes: what storing the graphs of all inner steps would take, or None when the settings name the mode.
        limit_bytes: what the settings allow for it, likewise.
    """

    mode: Mode
    stored_bytes: int | None = None
    limit_bytes: int | None = None


def saved_bytes(build: Callable[[], Any]) -> int:
    """Return the bytes of all distinct tensors that autograd saves while `build` runs; what it returns is let go."""
    sizes: dict[tuple[torch.device, int], int] = {}
    # A graph that holds its own tensors through Python is a cycle that no collector sees. So it is given boxes, which
    # are emptied afterwards; until then they hold every tensor, so that no address comes again.
    boxes: list[list[Tensor]] = []

    def pack(value: Tensor) -> list[Tensor]:
        storage = value.untyped_storage()
        sizes[value.device, storage.data_ptr()] = storage.nbytes()
        boxes.append([value])
        return boxes[-1]

    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box[0]):
            build()
    finally:
        for box in boxes:
            box.clear()
    return sum(sizes.values())


def device_bytes(device: torch.device) -> int:
    """Return the whole memory of a device; of a CPU, the machine's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def choose_mode(
    config: HypergradientConfig, build_one_graph: Callable[[], Any], inner_steps: int, device: torch.device
) -> ModeChoice:
    """Return the mode that the settings name, or for `auto` the exact mode that fits.

    The choice depends on the whole memory, not on what is free just now, so that a run that goes on on the same
    machine takes the same mode.

    Args:
        config: the settings.
        build_one_graph: makes the graph of one inner step; called for `auto` only.
        inner_steps: graphs that would be stored.
        device: where they would be.
    """
    if config.micro_batch is not None and config.mode == "auto":
        return ModeChoice("exact_recompute")
    if config.mode != "auto":
        return ModeChoice(config.mode)
    stored = saved_bytes(build_one_graph) * inner_steps
    limit = int(config.memory * device_bytes(device))
    return ModeChoice("exact_store" if stored <= limit else "exact_recompute", stored, limit)
