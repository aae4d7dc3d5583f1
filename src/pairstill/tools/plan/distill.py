"""What a few outer steps of every phase take."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import torch

from pairstill.config import FeaturesFirstConfig, HypergradientConfig, Mode
from pairstill.core.rng import derive_seed, make_generator
from pairstill.distill.initial import InitialPairs
from pairstill.distill.phases import Distillation
from pairstill.distill.recipe import Recipe, matching_of, pixels_of, towers_recipe
from pairstill.distilled import DistilledSet
from pairstill.events import Event, ModeChosen, OuterStep
from pairstill.exchange.jpeg import jpeg
from pairstill.run.context import RunContext
from pairstill.run.description import description
from pairstill.run.log import peak_memory_bytes

PHOTO_QUALITY = 90
"""Of made-up photos, as JPEG."""
PROBE_STEPS = 4  # the first of them also warms up, and is not counted


@dataclass(frozen=True)
class DistillProbe:
    """What the probe of the distillation found.

    Attributes:
        step_seconds: of each phase, on pixels.
        warm_seconds: of each phase's warm start, as long as the run's; 0 without one.
        distilled: the pairs, hardly moved.
        mode: the mode that was used.
        graph_bytes: one inner step's graph.
        peak_bytes: peak memory of the probe until here.
    """

    step_seconds: tuple[float, ...]
    warm_seconds: tuple[float, ...]
    distilled: DistilledSet
    mode: Mode
    graph_bytes: int
    peak_bytes: int


def probe_distillation(probe: RunContext, experts: Sequence[Path], folder: Path) -> DistillProbe:
    """Do a few outer steps of every phase.

    Args:
        probe: the run on made-up rows.
        experts: the file of a teacher behind each image tower.
        folder: where the distillation may write.
    """
    distill, distillation = probe.config.matching, _distillation(probe, experts)
    times = _Times()
    distilled = distillation.run(folder / "distillation", times.hear)
    peak = peak_memory_bytes(probe.device)
    choices, mode = times.choices, times.choices[-1].mode
    if distill.hypergradient.mode != "auto":
        # only `auto` estimates the graphs
        estimates = _Times()
        once = tuple(replace(phase, outer_steps=1) for phase in distillation.config.phases)
        estimating = HypergradientConfig(mode="auto", memory=distill.hypergradient.memory)
        asked = replace(distillation.config, phases=once, hypergradient=estimating)
        replace(distillation, config=asked).run(folder / "estimate", estimates.hear)
        choices = estimates.choices
    graph = max(choice.stored_bytes or 0 for choice in choices) // distill.inner_steps
    numbers = range(1, len(distill.phases) + 1)
    return DistillProbe(
        step_seconds=tuple(times.of_step(number, "pixels") for number in numbers),
        warm_seconds=tuple(times.of_warm_start(number, distill.features_first) for number in numbers),
        distilled=distilled,
        mode=mode,
        graph_bytes=graph,
        peak_bytes=peak,
    )


def _distillation(probe: RunContext, experts: Sequence[Path]) -> Distillation:
    """Return the run's distillation, cut short."""
    config, distill = probe.config, probe.config.matching
    warm = distill.features_first
    phases = tuple(replace(phase, outer_steps=PROBE_STEPS) for phase in distill.phases)
    pairs = [_pairs(probe, phase.num_pairs) for phase in phases]
    seed = derive_seed("plan")
    if config.towers:
        recipe = towers_recipe(probe.towers, [[expert] for expert in experts], probe.pixel_space, pairs)
    else:
        recipe = Recipe(
            pixels_of(pairs, probe.tower, config.initial_rates, seed, probe.device),
            matching_of([*experts], seed, probe.factory),
        )
    return Distillation(
        config=replace(
            distill,
            phases=phases,
            validate_every=0,
            patience=0,
            checkpoint_every=PROBE_STEPS,
            features_first=replace(warm, steps=PROBE_STEPS * (warm.steps > 0), inversion_steps=PROBE_STEPS),
        ),
        recipe=recipe,
        device=probe.device,
        describe=description(probe),
    )


class _Times:
    """When the outer steps of each phase and stage ended, and what they took; and the ways of the hypergradient."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, str], list[float]] = {}
        self.choices: list[ModeChosen] = []

    def hear(self, event: Event) -> None:
        match event:
            case OuterStep():
                self._ends.setdefault((event.phase, event.stage), []).append(time.perf_counter())
            case ModeChosen():
                self.choices.append(event)
            case _:
                pass

    def of_step(self, phase: int, stage: str) -> float:
        """Return the seconds of an outer step."""
        ends = self._ends[phase, stage]
        return median(after - before for before, after in zip(ends, ends[1:], strict=False))

    def of_warm_start(self, phase: int, warm: FeaturesFirstConfig) -> float:
        """Return the seconds of a phase's warm start, as long as the run's; 0 without one."""
        if (phase, "features") not in self._ends:
            return 0.0
        # between the last step on features and the end of the first on pixels, the pixels are found
        between = self._ends[phase, "pixels"][0] - self._ends[phase, "features"][-1]
        finding = max(0.0, between - self.of_step(phase, "pixels"))
        return warm.steps * self.of_step(phase, "features") + finding * warm.inversion_steps / PROBE_STEPS


def _pairs(probe: RunContext, pairs: int) -> InitialPairs:
    """Return made-up initial pairs, with the files of their images where photos are kept."""
    space, generator = probe.pixel_space, make_generator("plan", "pairs", pairs)
    images = torch.randn(pairs, 3, space.size, space.size, generator=generator)
    kept = probe.config.loop.images == "kept"
    return InitialPairs(
        images=images,
        text_embeddings=torch.randn(pairs, probe.text.spec.width, generator=generator),
        captions=("",) * pairs,
        sources=("",) * pairs,
        photos=tuple(jpeg(image, asdict(space), PHOTO_QUALITY) for image in images) if kept else (),
    )
