"""Phased distillation (Algorithm 1): one subset after another, each from its own stretch of the teachers."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pairstill.config import DistillConfig, PhaseConfig
from pairstill.distill.checkpoints import discard_checkpoints
from pairstill.distill.direct import ADVERSARY, DirectObjective
from pairstill.distill.features_first import FeatureRange, OnInversion, features_of, invert_features, outer_on_features
from pairstill.distill.gradients import similarity_factors
from pairstill.distill.initial import InitialPairs
from pairstill.distill.outer_loop import OuterHooks, StepReport, distill_phase
from pairstill.distill.problem import SIMILARITY, Learned, PhaseProblem
from pairstill.distill.similarity import initial_factors
from pairstill.distill.solvers import Choice
from pairstill.distilled import DistilledPhase, DistilledSet
from pairstill.model.dual_encoder import ModelFactory
from pairstill.ranks import Ranks
from pairstill.rng import generator
from pairstill.storage import load_tensors, save_tensors
from pairstill.trajectories.shortcut import Path as TeacherPath
from pairstill.trajectories.shortcut import recorded_path, shortcut_path
from pairstill.trajectories.trajectory import Trajectory

PATHS_IN_MEMORY = 8


class ExpertPaths:
    """The paths of one phase, read when they are needed or just before; the last few stay in memory."""

    def __init__(self, experts: list[Path], phase: PhaseConfig, config: DistillConfig, device: torch.device) -> None:
        """Serve shortcuts to the phase's endpoint, or the recorded snapshots when shortcuts are off."""
        self._experts = experts

        def read(expert: int) -> TeacherPath:
            trajectory = Trajectory.open(experts[expert])
            if config.shortcut:
                return shortcut_path(trajectory, phase.endpoint, device)
            last = config.last_start(phase) + config.matching_span
            return recorded_path(trajectory, phase.range_start, last, device)

        self._read = read
        self._reading: OrderedDict[int, Future[TeacherPath]] = OrderedDict()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="expert-reader")

    def __len__(self) -> int:
        """Return the number of experts."""
        return len(self._experts)

    def __getitem__(self, expert: int) -> TeacherPath:
        """Return the path of an expert, waiting for it if it is being read."""
        self.prefetch([expert])
        return self._reading[expert].result()

    def prefetch(self, experts: Sequence[int]) -> None:
        """Begin to read the paths of `experts` in the background; forget the longest unused beyond the limit."""
        for expert in experts:
            if expert not in self._reading:
                self._reading[expert] = self._reader.submit(self._read, expert)
            self._reading.move_to_end(expert)
        while len(self._reading) > max(PATHS_IN_MEMORY, len(experts)):
            self._reading.popitem(last=False)


@dataclass(frozen=True)
class Distillation:
    """A phased distillation, ready to run.

    Attributes:
        config: its settings.
        seed: its seed.
        factory: the model.
        tower: the frozen image tower, or None when the tower is trained.
        experts: the experts' trajectory files.
        initial: the initial pairs of every phase.
        initial_rates: initial inner rates of the image and the text side.
        describe: fills `DistilledSet`'s encoder, head and provenance fields.
        ranks: the processes that share the work; each calls `run`, the main one writes.
        objective: compares pairs directly, in place of trajectories; it has one phase.
        feature_range: what distilled features are kept in during a warm start; None leaves them free.
    """

    config: DistillConfig
    seed: int
    factory: ModelFactory
    tower: nn.Module | None
    experts: list[Path]
    initial: list[InitialPairs]
    initial_rates: tuple[float, float]
    describe: Mapping[str, Any]
    ranks: Ranks = Ranks()
    objective: DirectObjective | None = None
    feature_range: FeatureRange | None = None

    def run(
        self,
        folder: Path,
        on_step: Callable[[StepReport], None],
        on_checkpoint: Callable[[DistilledSet, int], float],
        on_mode: Callable[[Choice], None] = lambda choice: None,
        on_damage: Callable[[str], None] = lambda message: None,
        on_inversion: Callable[[int], OnInversion] = lambda phase: lambda step, steps, error: None,
    ) -> DistilledSet:
        """Distil every phase and return the distilled set; goes on from what `folder` holds.

        Args:
            folder: receives a checkpoint and, when it is done, the result of each phase.
            on_step: called after every outer step.
            on_checkpoint: called at validations with the set so far and the step; returns its validation recall.
            on_mode: called when a phase begins, with the hypergradient's mode and what chose it.
            on_damage: called with what is wrong with a checkpoint, when a phase goes on from the one before it.
            on_inversion: called when pixels are to be found for a phase's features, with its number; returns what is
                called after every step of that.
        """
        done: list[DistilledPhase] = []
        for number in range(1, len(self.config.phases) + 1):
            result = folder / f"phase{number}.safetensors"
            problem = self.problem(number)

            def validate(learned: Learned, step: int, problem: PhaseProblem = problem) -> float:
                return on_checkpoint(self._collect([*done, self._phase(problem, learned)]), step)

            checkpoint = folder / f"phase{number}.checkpoint.safetensors"
            if not self.ranks.from_main(result.is_file):
                hooks = OuterHooks(lambda choice: None, on_step, lambda learned, step: 0.0, on_damage)
                problem = self._warm_start(problem, folder, hooks, on_inversion)
                learned = distill_phase(problem, checkpoint, OuterHooks(on_mode, on_step, validate, on_damage))
                if self.ranks.is_main:
                    save_tensors(result, learned)
                self.ranks.barrier()
            if self.ranks.is_main:
                discard_checkpoints(checkpoint)
            done.append(self._phase(problem, load_tensors(result)))
        return self._collect(done)

    def _warm_start(
        self,
        problem: PhaseProblem,
        folder: Path,
        hooks: OuterHooks,
        on_inversion: Callable[[int], OnInversion],
    ) -> PhaseProblem:
        """Return the problem as features first leaves it, or as it is when that is off; goes on from what is there."""
        settings, tower = self.config.features_first, problem.tower
        if not settings.steps:
            return problem
        assert tower is not None
        result = folder / f"phase{problem.number}.warm.safetensors"
        if not self.ranks.from_main(result.is_file):
            images = problem.initial["images"].to(self.factory.device)
            learned = self._distil_features(problem, features_of(tower, images), folder, hooks)
            # every rank finds the same pixels
            pixels = invert_features(tower, images, learned["images"], settings, on_inversion(problem.number))
            if self.ranks.is_main:
                save_tensors(result, {**learned, "images": pixels})
            self.ranks.barrier()
        outer = replace(self.config.outer, lr_images=self.config.outer.lr_images * settings.rate_after)
        # a range that grows has grown on features
        config = replace(self.config, range_growth=0.0, outer=outer)
        return replace(problem, initial=load_tensors(result), config=config)

    def _distil_features(self, problem: PhaseProblem, features: Tensor, folder: Path, hooks: OuterHooks) -> Learned:
        result = folder / f"phase{problem.number}.features.safetensors"
        checkpoint = folder / f"phase{problem.number}.features.checkpoint.safetensors"
        if not self.ranks.from_main(result.is_file):
            settings = self.config.features_first
            # a student of features would have to be another one: nothing is validated here
            config = replace(
                self.config,
                validate_every=0,
                patience=0,
                outer=outer_on_features(self.config.outer, settings, features),
            )
            on_features = replace(
                problem,
                tower=None,
                config=config,
                phase=replace(problem.phase, outer_steps=settings.steps),
                initial={**problem.initial, "images": features},
                feature_range=self.feature_range,
            )
            learned = distill_phase(on_features, checkpoint, hooks)
            if self.ranks.is_main:
                save_tensors(result, learned)
            self.ranks.barrier()
        if self.ranks.is_main:
            discard_checkpoints(checkpoint)
        return {name: value.to(self.factory.device) for name, value in load_tensors(result).items()}

    def problem(self, number: int) -> PhaseProblem:
        """Return what the outer loop of a phase works on, by the phase's number from 1."""
        pairs, phase = self.initial[number - 1], self.config.phases[number - 1]
        learned: dict[str, Tensor] = {"images": pairs.images, "texts": pairs.text_embeddings}
        constant: dict[str, Tensor] = {}
        if self.config.loss == "wbce":
            draw = generator(self.seed, "similarity", number)
            factors, constant = initial_factors(self.config.similarity, phase.num_pairs, draw)
            learned |= {SIMILARITY + name: value for name, value in factors.items()}
        if self.objective is not None:
            learned |= {ADVERSARY + name: value for name, value in self.objective.adversary().items()}
        learned["inner_lr_image"], learned["inner_lr_text"] = (torch.tensor(rate) for rate in self.initial_rates)
        return PhaseProblem(
            number,
            phase,
            self.config,
            self.seed,
            self.factory,
            self.factory.build(),
            self.tower,
            ExpertPaths(self.experts, phase, self.config, self.factory.device),
            learned,
            constant,
            self.ranks,
            self.objective,
        )

    def _phase(self, problem: PhaseProblem, learned: Learned) -> DistilledPhase:
        pairs = self.initial[problem.number - 1]
        values = {name: value.detach().cpu() for name, value in learned.items()}
        return DistilledPhase(
            images=values["images"].contiguous(),
            text_embeddings=values["texts"],
            similarity_factors=similarity_factors(values, problem.constant_factors),
            inner_lr_image=float(values["inner_lr_image"]),
            inner_lr_text=float(values["inner_lr_text"]),
            captions=pairs.captions,
            sources=pairs.sources,
        )

    def _collect(self, phases: list[DistilledPhase]) -> DistilledSet:
        return DistilledSet(tuple(phases), loss=self.config.loss, **self.describe)
