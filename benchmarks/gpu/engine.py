"""The engine on a device: seconds and peak memory of every mode, the launch-bound share, an inner step as a graph."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from record import Record
from torch.profiler import ProfilerActivity, profile

from pairstill.distill.bilevel.solvers import Hypergradient
from pairstill.distill.bilevel.step_derivative import step_graph
from pairstill.tools.bench.hypergradient import agreement, build, segment
from pairstill.tools.bench.measure import peak_bytes, seconds_in_turn
from pairstill.tools.bench.settings import HypergradientBench

ORDER = ("unrolled", "exact_store", "exact_store, bfloat16", "exact_recompute, double backward")
"""What is measured first."""
GRAPH_ERROR = 1e-4


def run(record: Record, device: torch.device, *, tiny: bool) -> None:
    """Measure at both sizes of the mini-batch; each variant is written when it is done."""
    sizes: dict[str, Any] = {"model": "nfnet_l0", "size": 224, "pairs": 100, "inner_steps": 8, "text_width": 768}
    if tiny:
        sizes = {"model": "nf_resnet_tiny", "size": 16, "pairs": 6, "inner_steps": 2, "text_width": 8}
    batches = (4,) if tiny else (20, 40)
    for settings in (_settings(batch, device, sizes) for batch in batches):
        _modes(record, settings, device, rounds=1 if tiny else 2)
        record.run(f"profile, batch {settings.batch}", partial(_launch_bound, settings, device))
    # last: a capture that fails may leave the process unable to use the GPU
    for settings in (_settings(batch, device, sizes) for batch in batches):
        record.run(f"graph of an inner step, batch {settings.batch}", partial(_graphed, settings, device))


def _settings(batch: int, device: torch.device, sizes: dict[str, Any]) -> HypergradientBench:
    # on CPUs bfloat16 convolutions were seen to return values that are not finite
    lower = ("bfloat16", "tf32") if device.type == "cuda" else ()
    return HypergradientBench(
        batch=batch, precisions=lower, micro_batch=max(2, batch // 4), device=str(device), **sizes
    )


def _modes(record: Record, settings: HypergradientBench, device: torch.device, rounds: int) -> None:
    variants = build(settings, device).variants
    names = [name for name in ORDER if name in variants]
    names += [name for name in variants if name not in names]
    reference: dict[str, Hypergradient] = {}

    def measured(name: str) -> dict[str, Any]:
        found = variants[name]()
        reference.setdefault("first", found)
        # tangents are for comparison alone, and slow
        seconds = seconds_in_turn({name: variants[name]}, rounds, device)[name]
        peak = peak_bytes(variants[name], device) if device.type == "cuda" else None
        return {"seconds": seconds, "peak_bytes": peak, **agreement(found, reference["first"])}

    for name in names:
        if "first" not in reference and name != names[0]:
            reference["first"] = variants[names[0]]()  # it was measured before
        record.run(f"batch {settings.batch}: {name}", partial(measured, name))
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _launch_bound(settings: HypergradientBench, device: torch.device) -> dict[str, Any]:
    """Return which share of a hypergradient's time the GPU waits for the next kernel, and what it does meanwhile."""
    call = build(settings, device).variants["exact_store"]
    call()
    # kernels alone: the operations on the CPU, tens of thousands, would take longer to read than to run
    activities = [ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU]
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    with profile(activities=activities) as found:
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        wall = time.perf_counter() - began
    kernels = [e for e in found.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(_self_device_us(event) for event in kernels) / 1e6
    totals: dict[str, float] = {}
    for event in kernels:
        totals[event.name[:80]] = totals.get(event.name[:80], 0.0) + _self_device_us(event) / 1e6
    longest = dict(sorted(totals.items(), key=lambda item: -item[1])[:12])
    (plain,) = seconds_in_turn({"": call}, 1, device).values()
    share = max(0.0, 1 - busy / plain) if device.type == "cuda" else None
    shown = {name: round(seconds, 5) for name, seconds in longest.items()}
    return {
        "seconds": plain,
        "profiled": wall,
        "busy": busy,
        "kernels": len(kernels),
        "waiting_share": share,
        "longest": shown,
    }


def _self_device_us(event: Any) -> float:
    return float(getattr(event, "self_device_time_total", 0) or getattr(event, "device_time_total", 0))


def _graphed(settings: HypergradientBench, device: torch.device) -> dict[str, Any]:
    """Return what an inner step's derivative takes, called as it is and replayed as a CUDA graph, and if they agree."""
    loop = segment(settings, device, torch.channels_last)
    direction = {name: torch.full_like(value, 1e-3) for name, value in loop.start.items()}

    def step() -> list[torch.Tensor]:
        found = step_graph(loop.loss, loop.start, loop.data, loop.steps[0]).derivative(direction)
        return [found.images, found.texts, found.similarity, *found.parameters.values()]

    eager, expected = _seconds(step, device), [value.clone() for value in step()]
    if device.type != "cuda":
        return {"seconds": eager, "graph_seconds": None}
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = step()
    replayed = _seconds(graph.replay, device)
    norms = [
        (a - b).double().norm() / b.double().norm().clamp_min(1e-12) for a, b in zip(outputs, expected, strict=True)
    ]
    error = float(torch.stack(norms).max())
    return {"ok": error <= GRAPH_ERROR, "seconds": eager, "graph_seconds": replayed, "relative_error": error}


def _seconds(call: Callable[[], Any], device: torch.device) -> float:
    call()
    return statistics.median(seconds_in_turn({"": call}, 3, device).values())
