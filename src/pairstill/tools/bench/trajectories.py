"""Trajectories on disk: bytes of all experts, and the time to read what one segment needs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from pairstill.config import HeadsConfig, ImageConfig
from pairstill.core.rng import make_generator
from pairstill.encoders.image import build_image_encoder
from pairstill.model.dual_encoder import ModelFactory, Parameters
from pairstill.storage import load_tensors, save_tensors
from pairstill.teachers.shortcut import shortcut_path
from pairstill.teachers.trajectory import SHARED, Trajectory, TrajectoryRecorder
from pairstill.tools.bench.measure import Benchmark, Extra
from pairstill.tools.bench.settings import TrajectoriesBench

STEP = 1e-3
PLAIN, ALL, ENDPOINTS = "float32 snapshots of every epoch", "keep: all", "keep: endpoints"


def build(settings: TrajectoriesBench, device: torch.device) -> Benchmark:
    """Write one expert in each way and return what reads two points of its shortcut or of its snapshots."""
    encoder = build_image_encoder(ImageConfig(settings.model))
    factory = ModelFactory(encoder, True, settings.text_width, HeadsConfig(), torch.device("cpu"))
    places = _walk(factory.initial_parameters(settings.seed), settings)
    holder = TemporaryDirectory(prefix="pairstill-bench-")
    folders = {name: Path(holder.name) / str(number) for number, name in enumerate((PLAIN, ALL, ENDPOINTS))}
    for epoch, place in enumerate(places):
        save_tensors(folders[PLAIN] / f"{epoch:03d}.safetensors", place)
    for name, keep in ((ALL, range(1, settings.epochs + 1)), (ENDPOINTS, settings.endpoints)):
        recorder = TrajectoryRecorder(places[0], list(keep))
        for place in places[1:]:
            recorder.add(place)
        recorder.save(folders[name] / "expert.safetensors", {})

    def snapshots() -> list[dict[str, Tensor]]:
        files = [folders[PLAIN] / f"{epoch:03d}.safetensors" for epoch in (1, 2)]
        return [{name: value.to(device) for name, value in load_tensors(file).items()} for file in files]

    def shortcut(name: str) -> Callable[[], list[Parameters]]:
        def read() -> list[Parameters]:
            path = shortcut_path(Trajectory.open(folders[name] / "expert.safetensors"), settings.endpoints[0], device)
            return [path.at(1), path.at(2)]

        return read

    def compare(outputs: Mapping[str, object]) -> Extra:
        sizes = {name: _expert_bytes(folder) for name, folder in folders.items()}
        totals = {name: shared + settings.experts * own for name, (shared, own) in sizes.items()}
        return {
            name: {
                "bytes": sizes[name][1],
                "all_experts_bytes": totals[name],
                "percent": 100 * totals[name] / totals[PLAIN],
            }
            for name in outputs
        }

    return Benchmark({PLAIN: snapshots, ALL: shortcut(ALL), ENDPOINTS: shortcut(ENDPOINTS)}, compare, holder.cleanup)


def _walk(initial: Parameters, settings: TrajectoriesBench) -> list[Parameters]:
    """Return theta_0 and a random walk from it; what is in the tensors does not change what they take."""
    generator = make_generator(settings.seed, "bench trajectories")
    places = [initial]
    for _ in range(settings.epochs):
        places.append({n: v + STEP * torch.randn(v.shape, generator=generator) for n, v in places[-1].items()})
    return places


def _expert_bytes(folder: Path) -> tuple[int, int]:
    """Return the bytes that all experts share, and those of one expert."""
    shared = folder / SHARED
    own = sum(file.stat().st_size for file in folder.iterdir() if file != shared)
    return (shared.stat().st_size if shared.is_file() else 0), own
