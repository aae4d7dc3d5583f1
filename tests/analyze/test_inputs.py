"""What analyses draw and learn, as a run does."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from pairstill.analyze import teachers
from pairstill.analyze.inputs import analysis_seed
from pairstill.analyze.settings import TeachersAnalysis
from pairstill.config import (
    FeaturesFirstConfig,
    HeadsConfig,
    ImageConfig,
    OuterConfig,
    PhaseConfig,
    RunConfig,
    SeedsConfig,
)
from pairstill.core.rng import derive_seed, make_generator
from pairstill.run import problems

CONFIG = RunConfig(seed=1, seeds=SeedsConfig(distillation=7))


@pytest.mark.parametrize(("trainable", "rate"), [(True, 0.5), (False, 0.25)])
def test_features_are_learned_at_their_own_rate(trainable: bool, rate: float) -> None:
    first = FeaturesFirstConfig(lr_features=0.25)
    distill = replace(CONFIG.distill, outer=OuterConfig(lr_images=0.5), features_first=first)
    heads = HeadsConfig(image=True, width=8)
    config = replace(CONFIG, image=ImageConfig(trainable=trainable), heads=heads, distill=distill)
    train = SimpleNamespace(
        caption_owner=torch.arange(3),
        image_inputs=lambda images: torch.zeros(len(images), 2),
        texts=lambda captions: torch.zeros(len(captions), 2),
    )
    device = torch.device("cpu")
    parts: Any = SimpleNamespace(
        config=config,
        splits=SimpleNamespace(train=train),
        factory=SimpleNamespace(device=device),
        device=device,
        tower=None if trainable else object(),
    )
    phase = PhaseConfig(2, 1, range_start=0, range_end=1, endpoint=2)
    problem = problems.matching_problem(parts, [], torch.arange(2), phase, shortcut=True, seed=0)
    assert problem.config.outer == OuterConfig(lr_images=rate)


def test_analyses_draw_by_the_seed_of_the_distillation(tmp_path: Path) -> None:
    drawn: list[int] = []

    def epoch_order(captions: str, generator: torch.Generator) -> None:
        drawn.append(generator.initial_seed())
        raise KeyboardInterrupt

    parts: Any = SimpleNamespace(
        config=CONFIG,
        splits=SimpleNamespace(train=SimpleNamespace(num_images=1000, epoch_order=epoch_order)),
        factory=SimpleNamespace(build=lambda: None),
        console=Console(quiet=True),
        counting=lambda *_: nullcontext(),
    )
    assert analysis_seed(parts) == derive_seed(7, "analysis")
    with pytest.raises(KeyboardInterrupt):
        teachers.measure_teachers(parts, [], TeachersAnalysis(), tmp_path)
    assert drawn == [make_generator(7, "initial pairs").initial_seed()]
