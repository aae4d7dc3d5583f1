"""What the memory and the disk must hold, and what will not fit."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from pairstill.config import Mode, RunConfig, TrajectoryConfig
from pairstill.core.schema import SPLITS
from pairstill.distill.bilevel.solvers import SOLVERS
from pairstill.distilled import DistilledSet
from pairstill.run.context import RunContext
from pairstill.teachers.trajectory import SHARED
from pairstill.tools.plan.distill import DistillProbe


@dataclass(frozen=True)
class PlannedMode:
    """One mode of the hypergradient.

    Attributes:
        mode: the mode.
        peak_bytes: predicted peak memory of the run.
        fits: whether the device has that much.
    """

    mode: str
    peak_bytes: int
    fits: bool


def trajectory_bytes(expert: Path, num_experts: int) -> int:
    """Return the bytes of so many teachers like the one in the file `expert`, with what they share; none of none."""
    if not num_experts:
        return 0
    shared = expert.parent / SHARED
    return expert.stat().st_size * num_experts + (shared.stat().st_size if shared.is_file() else 0)


def cache_bytes(probe: RunContext) -> int:
    """Return the bytes of the cache's rows: pixels or features of all images, and embeddings of all captions."""
    manifest, size = probe.manifest, probe.image.spec.size
    features = sum(math.prod(tower.image.spec.features) for tower in probe.towers)
    image = 3 * size**2 if probe.tower is None else 4 * features
    images = sum(len(manifest.split(split)) for split in SPLITS) + probe.num_views * len(manifest.split("train"))
    captions = sum(len(manifest.captions(split)) for split in SPLITS)
    return images * image + captions * 4 * probe.text.spec.width


def distilled_bytes(distilled: DistilledSet) -> int:
    """Return the bytes of the distilled set, its phases, and a checkpoint five times as large."""
    return (2 + 5) * distilled.storage_bytes


def free_disk_bytes(path: Path) -> int:
    """Return the free bytes of the disk that `path` will be on."""
    return shutil.disk_usage(_existing(path)).free


def _existing(path: Path) -> Path:
    path = path.absolute()
    return path if path.exists() else _existing(path.parent)


def planned_modes(found: DistillProbe, distill: TrajectoryConfig, memory: int) -> tuple[PlannedMode, ...]:
    """Return each mode's peak: the probe's, with the graphs that it held exchanged for those that the mode holds."""
    modes: tuple[Mode, ...] = ("exact_store", "exact_recompute", "truncated", "unrolled")
    if found.mode == "exact_span":
        modes = ("exact_span",)  # the others' graphs are not probed: nobody would choose them
    base = found.peak_bytes - SOLVERS[found.mode].graphs_held(distill.inner_steps) * found.graph_bytes
    planned = []
    for mode in modes:
        peak = max(base, 0) + SOLVERS[mode].graphs_held(distill.inner_steps) * found.graph_bytes
        planned.append(PlannedMode(mode, peak, peak <= memory))
    return tuple(planned)


def warnings_of(
    config: RunConfig, modes: tuple[PlannedMode, ...], chosen: str, disk: int, free: int
) -> tuple[str, ...]:
    """Return what will not fit, each with the settings that would make it fit."""
    warnings = []
    (used,) = (mode for mode in modes if mode.mode == chosen)
    if not used.fits:
        others = [mode.mode for mode in modes if mode.fits and mode.mode == "exact_recompute"]
        smaller = f"{'set distill.hypergradient.micro_batch, ' if config.image.trains else ''}lower image.size"
        knob = "set distill.hypergradient.mode to exact_recompute" if others else smaller
        warnings.append(
            f"{chosen} will not fit into memory: {knob}, or lower distill.batch_size or distill.inner_steps"
        )
    if disk > free:
        knobs = ["lower teacher.num_experts", "choose a run_dir on a larger disk"]
        if config.teacher.keep == "all" and config.auto_phases is None:
            knobs.insert(0, "set teacher.keep to endpoints")
        warnings.append(f"the run's files will not fit on the disk: {', or '.join(knobs)}")
    return tuple(warnings)
