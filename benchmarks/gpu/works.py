"""Does it work on this device: exactness, identity, determinism, recall, checkpoints, precisions, process groups."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from record import Record, environment_of
from torch import nn

from pairstill.config import HeadsConfig, ImageConfig, RunConfig
from pairstill.core.rng import make_generator
from pairstill.core.world import World
from pairstill.distill.bilevel.inner_loop import InnerLoop, InnerStep, draw_batches
from pairstill.distill.bilevel.solvers import solver
from pairstill.distilled import DistilledSet
from pairstill.encoders.image import build_image_encoder
from pairstill.events import Event, Events, OuterStep
from pairstill.model.dual_encoder import ModelFactory
from pairstill.run.pipeline import Run
from pairstill.storage import load_tensors
from pairstill.tools.bench.frozen import segment as frozen_segment
from pairstill.tools.bench.hypergradient import agreement
from pairstill.tools.bench.hypergradient import segment as trained_segment
from pairstill.tools.bench.recall import build as build_recall
from pairstill.tools.bench.settings import HypergradientBench, RecallBench

PAIRS, BATCH, STEPS, SIZE, TEXT_WIDTH = 12, 8, 4, 32, 16
WAYS = {
    "exact_store": ("exact_store", "double_backward", None),
    "exact_recompute": ("exact_recompute", "double_backward", None),
    "exact_recompute, tangents": ("exact_recompute", "forward_over_reverse", None),
    "exact_recompute, micro-batches": ("exact_recompute", "double_backward", 3),
    "exact_span": ("exact_span", "double_backward", None),
}
BOUNDS = {torch.float64: 1e-9, torch.float32: 2e-4}
"""The largest relative error of an exact mode against backpropagation through the unrolled loop."""
SAME_DEVICE_RUNS = 1e-3
"""The largest relative difference of the pairs of two equal short runs on one GPU."""


def run(record: Record, device: torch.device, work: Path, config: RunConfig, site: Path | None) -> None:
    """Do every check; a failed one does not keep the others from being done."""
    for dtype in BOUNDS:
        for kind in ("trained", "frozen, residual heads", "frozen, linear heads"):
            name = f"exactness, {kind}, {str(dtype).removeprefix('torch.')}"
            record.run(name, partial(_exactness, kind, dtype, device))
    record.run("recall in tiles", partial(_recall, device))
    record.run("two equal runs", partial(_two_runs, work, config))
    record.run("checkpoint and resume", partial(_resume, work, config))
    record.run("MTT-VL's identity", partial(_identity, work, config))
    if device.type == "cuda":
        for precision in ("tf32", "bfloat16"):
            record.run(f"a run in {precision}", partial(_precision, work, config, precision))
    record.run("a process group", partial(_torchrun, work, site, device))


def _loop(kind: str, dtype: torch.dtype, device: torch.device) -> InnerLoop:
    """Return a short segment of a kind of model."""
    if kind == "trained":
        settings = HypergradientBench(
            model="nf_resnet_tiny",
            size=SIZE,
            batch=BATCH,
            inner_steps=STEPS,
            pairs=PAIRS,
            text_width=TEXT_WIDTH,
            micro_batch=3,
        )
        return trained_segment(settings, device, torch.channels_last, dtype=dtype)
    heads = HeadsConfig("linear" if "linear" in kind else "residual", image=True, width=8)
    encoder = build_image_encoder(ImageConfig("nf_resnet_tiny", trainable=False, size=SIZE))
    factory = ModelFactory(encoder, False, TEXT_WIDTH, heads, device)
    generator = make_generator("gpu kit", kind)
    texts = torch.randn(PAIRS, TEXT_WIDTH, generator=generator).to(device, dtype)
    features = torch.randn(PAIRS, encoder.spec.width, generator=generator).to(device, dtype)
    batches = draw_batches(PAIRS, BATCH, STEPS, generator)
    steps = [InnerStep(index.to(device), factory.draw_masks(len(index), generator)) for index in batches]
    return frozen_segment(factory, texts, steps, 0, features, nn.Identity())


def _exactness(kind: str, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    loop = _loop(kind, dtype, device)
    reference = solver("unrolled")(loop)
    errors = {}
    for name, (mode, derivative, micro) in WAYS.items():
        if (mode == "exact_span") != ("linear" in kind) and mode == "exact_span" or (micro and kind != "trained"):
            continue
        way = solver(mode, derivative, micro)
        errors[name] = agreement(way(loop), reference)["relative_error"]
    on_device = reference.images.device.type == device.type
    return {"ok": on_device and max(errors.values()) <= BOUNDS[dtype], "relative_errors": errors}


def _recall(device: torch.device) -> dict[str, Any]:
    found = {
        name: call().mean for name, call in build_recall(RecallBench(images=600, width=32), device).variants.items()
    }
    # single scores round apart between a GPU and NumPy: a query or two may change places
    return {"ok": max(found.values()) - min(found.values()) < 0.05, "mean_recall": found}


def _short(work: Path, config: RunConfig, name: str, **changes: Any) -> Run:
    """Return a short run that takes nothing from others."""
    return Run(replace(config, run_dir=str(work / "works" / name), reuse=False, **changes))


def _pairs(pipeline: Run) -> dict[str, torch.Tensor]:
    with pipeline:  # which sets the precision that the run asks for, and puts back the one that was
        pipeline.distill()
    return load_tensors(pipeline.folder.distilled / "distilled.safetensors")


def _difference(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> dict[str, Any]:
    worst = max(float((one[n] - two[n]).double().norm() / one[n].double().norm().clamp_min(1e-12)) for n in one)
    same = all(torch.equal(one[name], two[name]) for name in one)
    return {"ok": worst <= SAME_DEVICE_RUNS, "same_bits": same, "largest_relative_difference": worst}


def _two_runs(work: Path, config: RunConfig) -> dict[str, Any]:
    return _difference(_pairs(_short(work, config, "first")), _pairs(_short(work, config, "second")))


class _Stop(Exception):
    """Ends a run in the middle."""


def _resume(work: Path, config: RunConfig) -> dict[str, Any]:
    def stop(event: Event) -> None:
        if isinstance(event, OuterStep) and event.step == 3:
            raise _Stop

    stopped = _short(work, config, "stopped")
    if not stopped.folder.is_distilled():
        stopped.context = replace(stopped.context, events=Events(stopped.context.emit, stop))
        try:
            with stopped:
                stopped.distill()
        except _Stop:
            pass
        del stopped
    whole = _short(work, config, "first")
    return _difference(_pairs(whole), _pairs(_short(work, config, "stopped")))


def _identity(work: Path, config: RunConfig) -> dict[str, Any]:
    pipeline = _short(work, config, "mtt_vl", method="mtt_vl")
    with pipeline:
        rows = pipeline.run()
    distilled = DistilledSet.load(pipeline.folder.distilled)
    same = all(torch.equal(phase.similarity, torch.eye(phase.num_pairs)) for phase in distilled.phases)
    return {"ok": same and bool(rows), "pairs": distilled.num_pairs}


def _precision(work: Path, config: RunConfig, precision: Any) -> dict[str, Any]:
    lower = _pairs(_short(work, config, precision, image=replace(config.image, precision=precision)))
    whole = _pairs(_short(work, config, "first"))
    cosine = torch.cosine_similarity(whole["phase1/images"].flatten(), lower["phase1/images"].flatten(), dim=0)
    return {"ok": bool(cosine > 0.9), "cosine_of_images": float(cosine)}


def _torchrun(work: Path, site: Path | None, device: torch.device) -> dict[str, Any]:
    """Start one process with torchrun, which goes through its process group for everything."""
    here = Path(__file__).parent / "kit.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1"]
    command += [str(here), "--part", "group", "--device", str(device), "--work", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment_of(site), timeout=100)
    return {"ok": done.returncode == 0, "said": (done.stdout if done.returncode == 0 else done.stderr)[-400:]}


def group(device: torch.device) -> str:
    """Go through everything that ranks agree on, in a group of one process; return the backends."""
    world = World(grouped=True)
    world.join(device, timeout_minutes=1)
    gradients = {"images": torch.full((3, 2), 2.0, device=device), "rate": torch.tensor(1.0, device=device)}
    found = world.mean(gradients)
    assert all(torch.equal(found[name], gradients[name]) for name in gradients)
    assert world.from_main(lambda: {"a": 1}) == {"a": 1} and world.gather(5) == [5]
    assert world.main_first(lambda: 7) == 7
    world.barrier()
    backends = str(torch.distributed.get_backend_config())
    world.leave()
    return backends
