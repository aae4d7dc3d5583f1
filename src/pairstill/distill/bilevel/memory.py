"""How much memory the graphs of the inner steps take, and how much there is."""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


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
