"""Tiny distillation problems: a student, distilled pairs, and teachers that walked at random."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pairstill.config import HypergradientConfig, OuterConfig, PhaseConfig, SimilarityConfig, TrajectoryConfig
from pairstill.distill.bilevel.inner_loop import (
    InnerData,
    InnerLoop,
    InnerRates,
    InnerStep,
    LinearSides,
    LossHalves,
    draw_batches,
)
from pairstill.distill.bilevel.matching import matching_losses
from pairstill.distill.bilevel.objective import TrajectoryObjective
from pairstill.distill.initial import InitialPairs
from pairstill.distill.loop import LoopSettings, PhaseProblem, distill_phase
from pairstill.distill.objective import Objective
from pairstill.distill.pairs import Pixels, PlainPairs
from pairstill.distill.similarity import Similarity
from pairstill.events import CheckpointDamaged, Event, OuterStep
from pairstill.model.dual_encoder import ModelFactory, Parameters
from pairstill.model.functional import embed_images, embedded_pair_loss, loss_of_embeddings, pair_loss
from pairstill.teachers.shortcut import TeacherPath

CPU = torch.device("cpu")
PAIRS, BATCH, SIZE, FEATURES, TEXT_WIDTH = 5, 3, 6, 5, 7


@pytest.fixture
def make_loop(
    make_factory: Callable[..., ModelFactory], walk: Callable[..., list[Parameters]]
) -> Callable[..., InnerLoop]:
    """Build a matching problem with random pairs, and similarities that no small change takes over the threshold."""

    def make(
        *,
        trainable: bool,
        steps: int,
        dropout: float = 0.0,
        loss: str = "wbce",
        kind: str = "per_tower",
        linear: bool = False,
        dtype: torch.dtype = torch.float64,
    ) -> InnerLoop:
        heads = {"kind": "linear"} if linear else {}
        factory = make_factory(trainable=trainable, dropout=dropout, **heads)
        generator = torch.Generator().manual_seed(1)
        model = factory.build()
        start = {name: value.double() for name, value in factory.initial_parameters(0).items()}
        target = {name: value.to(dtype) for name, value in walk(start, 1, size=0.1)[0].items()}
        start = {name: value.to(dtype) for name, value in start.items()}
        shape = (PAIRS, 3, SIZE, SIZE) if trainable else (PAIRS, FEATURES)
        # drawn in double precision, so that both precisions see the same problem
        data = InnerData(
            torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype),
            torch.randn(PAIRS, TEXT_WIDTH, generator=generator, dtype=torch.float64).to(dtype),
            (0.8 * torch.eye(PAIRS) + 0.1 * torch.rand(PAIRS, PAIRS, generator=generator, dtype=torch.float64)).to(
                dtype
            ),
        )
        inner = [
            InnerStep(index, factory.draw_masks(len(index), generator))
            for index in draw_batches(PAIRS, BATCH, steps, generator)
        ]
        return InnerLoop(
            loss=lambda p, x, y, s, masks: pair_loss(model, p, (x, y, s), loss, masks),
            start=start,
            data=data,
            rates=InnerRates(torch.tensor(0.11, dtype=dtype), torch.tensor(0.07, dtype=dtype)),
            steps=inner,
            matching=lambda end: matching_losses(end, start, target, kind),
            halves=LossHalves(
                partial(embed_images, model),
                lambda p, u, y, s, masks: embedded_pair_loss(model, p, (u, y, s), loss, masks),
            ),
            linear=LinearSides(lambda u, v, s, masks: loss_of_embeddings(u, v, s, loss, "mean"), target, kind)
            if linear
            else None,
        )

    return make


PHASE = PhaseConfig(num_pairs=PAIRS, outer_steps=6, range_start=0, range_end=1, endpoint=3)
OUTER = OuterConfig(lr_images=0.05, lr_texts=0.05, lr_similarity=0.02, lr_inner_lr=0.002)
CONFIG = TrajectoryConfig(
    phases=(PHASE,),
    inner_steps=3,
    batch_size=BATCH,
    ema_decay=0.9,
    outer=OUTER,
    hypergradient=HypergradientConfig(mode="exact_recompute"),
    checkpoint_every=2,
    validate_every=0,
)


class Paths(list[TeacherPath]):
    """Paths that are all there."""

    def prefetch(self, experts: Sequence[int]) -> None:
        assert all(0 <= expert < len(self) for expert in experts)


@pytest.fixture
def make_problem(
    make_factory: Callable[..., ModelFactory], walk: Callable[..., list[Parameters]]
) -> Callable[..., TrajectoryObjective]:
    """Build the objective of one phase; keywords are settings of the distillation, `outer` and `phase` of theirs."""

    def make(
        *,
        trainable: bool = True,
        dropout: float = 0.1,
        seed: int = 0,
        outer: dict[str, Any] | None = None,
        phase: dict[str, Any] | None = None,
        **settings: Any,
    ) -> TrajectoryObjective:
        phase_config = replace(PHASE, **(phase or {}))
        config = replace(CONFIG, phases=(phase_config,), outer=replace(OUTER, **(outer or {})), **settings)
        factory = make_factory(trainable=trainable, dropout=dropout)
        paths = Paths()
        for expert in range(2):
            initial = factory.initial_parameters(expert)
            places = walk(initial, 4, size=0.1, seed=expert)
            moves = [{name: place[name] - initial[name] for name in initial} for place in places]
            paths.append(TeacherPath(initial, None, dict(enumerate(moves, start=1))))
        generator = torch.Generator().manual_seed(2)
        pairs = phase_config.num_pairs
        begin = InitialPairs(
            torch.randn(pairs, 3, SIZE, SIZE, generator=generator),
            2 * torch.randn(pairs, TEXT_WIDTH, generator=generator),
            ("",) * pairs,
            ("",) * pairs,
        )
        similarity = Similarity()
        if config.loss == "wbce":
            similarity = Similarity.initial(config.similarity, pairs, generator)
        kind = Pixels(None if trainable else factory.encoder.tower)
        return TrajectoryObjective(
            number=1,
            phase=phase_config,
            config=config,
            seed=seed,
            factory=factory,
            paths=paths,
            pairs=PlainPairs.of(begin, kind, similarity, (0.1, 0.2), config.outer, CPU),
        )

    return make


@pytest.fixture
def distil(tmp_path: Path) -> Callable[..., dict[str, Tensor]]:
    """Distil what an objective of one phase is for, watching steps and validations when asked to."""

    def run(
        objective: TrajectoryObjective,
        checkpoint: Path | None = None,
        on_step: Callable[..., None] = lambda report: None,
        validate: Callable[..., float] = lambda learned, step: 0.0,
        on_damage: Callable[[str], None] = lambda message: None,
        moved_by: Objective | None = None,
    ) -> dict[str, Tensor]:
        path = checkpoint or tmp_path / f"checkpoint-{len(list(tmp_path.iterdir()))}.safetensors"
        settings = LoopSettings.of(objective.config, objective.phase.outer_steps)
        problem = PhaseProblem(objective.number, moved_by or objective, settings, CPU, objective.world)
        done = [0]

        def hear(event: Event) -> None:
            match event:
                case OuterStep():
                    done.append(event.step)
                    on_step(event)
                case CheckpointDamaged():
                    on_damage(event.problem)
                case _:
                    pass

        return distill_phase(replace(problem, validate=lambda learned: validate(learned, done[-1])), path, hear)

    return run


@pytest.fixture
def low_rank() -> SimilarityConfig:
    return SimilarityConfig(kind="low_rank", rank=2, scale=3.0)
