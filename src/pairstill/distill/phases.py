"""Phased distillation (Algorithm 1): one subset after another, each from its own range of the teachers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pairstill.config import TrajectoryConfig
from pairstill.core.errors import ConfigError
from pairstill.core.world import World
from pairstill.distill.checkpoints import discard_checkpoints
from pairstill.distill.features_first import FeatureRange
from pairstill.distill.learned import Learned, Parametrisation
from pairstill.distill.loop import LoopSettings, PhaseProblem, distill_phase
from pairstill.distill.pairs import PlainPairs
from pairstill.distill.recipe import Recipe, Stage
from pairstill.distill.shared_pairs import SharedPairs
from pairstill.distilled import DistilledPhase, DistilledSet
from pairstill.events import Emit, silent
from pairstill.storage import load_tensors, save_tensors


@dataclass(frozen=True)
class Distillation:
    """A phased distillation, ready to run.

    Attributes:
        config: its settings.
        recipe: what is distilled, and for what.
        device: where.
        describe: fills `DistilledSet`'s encoder, head and provenance fields.
        world: the processes that share the work; each calls `run`, the main one writes.
        feature_ranges: what the distilled features of each tower are kept in during a warm start; none leaves them
            free.
        validate: returns the validation recall of the pairs so far, in percent.
    """

    config: TrajectoryConfig
    recipe: Recipe
    device: torch.device
    describe: Mapping[str, Any]
    world: World = World()
    feature_ranges: tuple[FeatureRange, ...] = ()
    validate: Callable[[DistilledSet], float] = lambda distilled: 0.0

    def run(self, folder: Path, emit: Emit = silent) -> DistilledSet:
        """Distil every phase and return the distilled set; goes on from what `folder` holds.

        Args:
            folder: receives a checkpoint and, when it is done, the result of each phase.
            emit: told of all steps and validations, of the way of the hypergradient in each phase, and of a damaged
                checkpoint.
        """
        done: list[DistilledPhase] = []
        for number, phase in enumerate(self.config.phases, start=1):
            result = folder / f"phase{number}.safetensors"
            pairs = self.recipe.pairs(number, self.config)

            def validate(learned: Learned, pairs: Parametrisation = pairs) -> float:
                return self.validate(self._collect([*done, pairs.phase(learned)]))

            checkpoint = folder / f"phase{number}.checkpoint.safetensors"
            if not self.world.from_main(result.is_file):
                stage = self._warm_start(Stage(number, phase, self.config, pairs), folder, emit)
                learned = distill_phase(replace(self._problem(stage), validate=validate), checkpoint, emit)
                if self.world.is_main:
                    save_tensors(result, learned)
                self.world.barrier()
            if self.world.is_main:
                discard_checkpoints(checkpoint)
            done.append(pairs.phase(load_tensors(result)))
        return self._collect(done)

    def _problem(self, stage: Stage) -> PhaseProblem:
        settings = LoopSettings.of(stage.config, stage.phase.outer_steps)
        return PhaseProblem(stage.number, self.recipe.objective(stage), settings, self.device, self.world)

    def _warm_start(self, stage: Stage, folder: Path, emit: Emit) -> Stage:
        """Return the stage as features first leaves it, or as it is when that is off; goes on from what is there."""
        settings, pairs = self.config.features_first, stage.pairs
        if not settings.steps:
            return stage
        if not isinstance(pairs, PlainPairs | SharedPairs) or not pairs.towers:
            raise ConfigError(
                "distill.features_first.steps is set, but this method learns no pixels behind a frozen tower; leave "
                "features_first out"
            )
        result = folder / f"phase{stage.number}.warm.safetensors"
        if not self.world.from_main(result.is_file):
            learned = self._distil_features(stage, pairs, folder, emit)
            # every rank finds the same pixels
            found = pairs.inverted(learned, settings, stage.number, emit)
            if self.world.is_main:
                save_tensors(result, found)
            self.world.barrier()
        outer = replace(self.config.outer, lr_images=self.config.outer.lr_images * settings.rate_after)
        # a range that grows has grown on features
        config = replace(self.config, range_growth=0.0, outer=outer)
        return replace(stage, config=config, pairs=pairs.going_on(load_tensors(result), outer))

    def _distil_features(self, stage: Stage, pairs: PlainPairs | SharedPairs, folder: Path, emit: Emit) -> Learned:
        result = folder / f"phase{stage.number}.features.safetensors"
        checkpoint = folder / f"phase{stage.number}.features.checkpoint.safetensors"
        if not self.world.from_main(result.is_file):
            settings = self.config.features_first
            # a student of features would have to be another one: nothing is validated here
            config = replace(self.config, validate_every=0, patience=0)
            on_features = Stage(
                stage.number,
                replace(stage.phase, outer_steps=settings.steps),
                config,
                pairs.on_features(settings, self.feature_ranges),
            )
            problem = replace(self._problem(on_features), stage="features")
            learned = distill_phase(problem, checkpoint, emit)
            if self.world.is_main:
                save_tensors(result, learned)
            self.world.barrier()
        if self.world.is_main:
            discard_checkpoints(checkpoint)
        return {name: value.to(self.device) for name, value in load_tensors(result).items()}

    def _collect(self, phases: list[DistilledPhase]) -> DistilledSet:
        return DistilledSet(tuple(phases), loss=self.config.loss, **self.describe)
