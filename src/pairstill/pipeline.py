"""The wiring: build every part from the settings, then run the stages. The only place that knows all the layers."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import normalize

from pairstill.config import RunConfig
from pairstill.coreset import candidates, choose_rows, coreset_phase, joint_features
from pairstill.data.manifest import Manifest, build_manifest
from pairstill.devices import choose_device, set_precision
from pairstill.distill.characteristic import CharacteristicObjective, cluster, draw_from_clusters
from pairstill.distill.direct import DirectObjective
from pairstill.distill.initial import InitialPairs, initial_pairs, real_pairs
from pairstill.distill.memory import ModeChoice
from pairstill.distill.outer_loop import StepReport
from pairstill.distill.phases import Distillation
from pairstill.distill.projector import ProjectorObjective
from pairstill.distilled import DistilledSet
from pairstill.encoders.frozen import frozen_tower
from pairstill.encoders.image import ImageEncoder, build_image_encoder
from pairstill.encoders.split import EncodedSplit, encode_split
from pairstill.encoders.text import TextEncoder, build_text_encoder
from pairstill.errors import ArtifactError, ConfigError
from pairstill.evaluate.protocol import Bench, Outcome, Splits, recalls_on
from pairstill.methods import METHODS, find_method, with_method
from pairstill.model.dual_encoder import ModelFactory, Parameters
from pairstill.ranks import Ranks
from pairstill.report.tables import RANDOM_SELECTED, Row, human_bytes, markdown, summarise
from pairstill.rng import derive_seed, generator
from pairstill.runfolder import RunFolder, commit
from pairstill.runlog import peak_memory_bytes, progress_bar
from pairstill.schema import Split
from pairstill.storage import digest, write_json, write_text_atomic
from pairstill.trajectories.shared import claim_folder
from pairstill.trajectories.teacher import RealTraining, epochs_to_keep, record_expert
from pairstill.trajectories.trajectory import Trajectory


class Pipeline:
    """One run: its parts are built when they are first needed, its stages can be called alone and again.

    Under torchrun every process builds the same pipeline and calls the same stages: teachers and stretches are shared
    out, the main rank alone writes and measures. Evaluation is the last stage, where the other ranks are let go.
    """

    def __init__(self, config: RunConfig, console: Console | None = None) -> None:
        """Fix device and threads, meet the other ranks if there are any, and open the run's folder.

        Args:
            config: the run's settings.
            console: where progress is shown, by the main rank; None shows none.
        """
        config = with_method(config)
        self.config = config
        self.method = find_method(config.method)
        self.ranks = Ranks.from_environment()
        self.console = console if console is not None and self.ranks.is_main else Console(quiet=True)
        self.device = choose_device(config.device, self.ranks)
        set_precision(config.image.precision, self.device)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.ranks.join(self.device, config.ranks_timeout_minutes)
        self.folder = RunFolder(config, writes=self.ranks.is_main)
        self.cache_dir = Path(config.cache_dir).expanduser()

    # parts

    @cached_property
    def manifest(self) -> Manifest:
        """The checked real pairs."""
        return self.ranks.from_main(self._check_pairs)

    def _check_pairs(self) -> Manifest:
        self.console.print("Checking the pairs", style="dim")
        pairs = self.config.distill.num_pairs
        needed = max(pairs, self.config.evaluate.references.random_pairs or 0)
        manifest = build_manifest(self.config.data, self.cache_dir, need={"train": needed, "val": 1, "test": 1})
        write_json(self.folder.path / "data.json", _describe_data(manifest))
        for problem in manifest.dropped:
            self.folder.metrics.write("dropped_pair", problem=problem)
        if manifest.dropped:
            self.console.print(f"Left out {len(manifest.dropped)} bad pairs; data.json lists them", style="yellow")
        return manifest

    @cached_property
    def image(self) -> ImageEncoder:
        """The image tower."""
        return build_image_encoder(self.config.image)

    @cached_property
    def text(self) -> TextEncoder:
        """The text tower."""
        return build_text_encoder(self.config.text)

    @cached_property
    def tower(self) -> nn.Module | None:
        """The image tower when it is frozen."""
        return None if self.config.image.trainable else frozen_tower(self.image, self.device)

    @cached_property
    def factory(self) -> ModelFactory:
        """The model."""
        config = self.config
        image = config.image
        return ModelFactory(
            self.image, image.trainable, self.text.spec.width, config.heads, self.device, image.precision
        )

    def _split(self, manifest: Manifest, split: Split) -> EncodedSplit:
        image, text = self.image, self.text
        with progress_bar(self.console) as progress:
            tasks: dict[str, Any] = {}

            def on_rows(kind: str, done: int, total: int) -> None:
                if kind not in tasks:
                    tasks[kind] = progress.add_task(f"Encoding the {split} split: {kind}", total=total, status="")
                progress.update(tasks[kind], completed=done)

            return encode_split(
                manifest,
                split,
                image,
                text,
                tower=self.tower,
                cache_dir=self.cache_dir,
                device=self.device,
                on_rows=on_rows,
            )

    @cached_property
    def splits(self) -> Splits:
        """The encoded splits."""
        manifest = self.manifest  # all ranks together, before they take turns

        def encode() -> Splits:
            return Splits(*(self._split(manifest, name) for name in ("train", "val", "test")))

        return self.ranks.main_first(encode)

    @cached_property
    def bench(self) -> Bench:
        """What measures students and references."""
        config = self.config
        return Bench(
            factory=self.factory,
            tower=self.tower,
            splits=self.splits,
            student=config.student,
            batch_size=config.student.batch_size or config.distill.batch_size,
            teacher=config.teacher,
            evaluate=config.evaluate,
            seed=config.seed,
        )

    # stages

    def prepare(self) -> Manifest:
        """Check the pairs and encode all splits."""
        with self._timed("prepare"):
            manifest, _ = self.manifest, self.splits
        return manifest

    def teach(self) -> list[Path]:
        """Train the experts that are not there yet and return the files of all."""
        teacher = self.config.teacher
        folder = self._trajectories()
        paths = [folder / f"expert_{i:04d}.safetensors" for i in range(teacher.num_experts)]
        missing = self.ranks.from_main(lambda: [n for n, path in enumerate(paths) if not path.is_file()])
        if not missing:
            return paths
        splits = self.splits  # encoded before the clock of this stage runs
        with self._timed("teach"), progress_bar(self.console) as progress:
            task = progress.add_task("Teachers", total=len(paths) * teacher.epochs, status="")
            progress.advance(task, (len(paths) - len(missing)) * teacher.epochs)

            def tell(epoch: dict[str, Any] | None) -> None:
                """Log and show this rank's epoch, and those that the others tell at the same time."""
                for told in self.ranks.gather(epoch):
                    if told is not None:
                        self.folder.metrics.write("teacher_epoch", **told)
                        status = f"loss {told['loss']:.3f}, validation recall {told['validation_mean_recall']:.1f}"
                        progress.update(task, advance=1, status=status)

            for first in range(0, len(missing), self.ranks.world):
                mine = self.ranks.share(missing[first : first + self.ranks.world])
                for expert in mine:
                    self._train_expert(expert, paths[expert], splits, tell)
                if not mine:
                    for _ in range(teacher.epochs):
                        tell(None)
            self.ranks.barrier()
        return paths

    def _trajectories(self) -> Path:
        """Return the folder of the trajectories, which other runs may share that would train the same teachers."""
        config = self.config
        if config.trajectories_dir is None:
            return self.folder.trajectories
        teachers = {
            "data": self.manifest.fingerprint,
            "image_encoder": self.image.spec.to_json(),
            "text_encoder": self.text.spec.to_json(),
            "settings": {
                "seed": config.seed,
                "heads": asdict(config.heads),
                "image": {"trainable": config.image.trainable, "precision": config.image.precision},
                "teacher": {k: v for k, v in asdict(config.teacher).items() if k not in ("num_experts", "keep")},
            },
        }
        folder = Path(config.trajectories_dir).expanduser()
        kept = epochs_to_keep(config.teacher, config.distill)
        self.ranks.main_first(lambda: claim_folder(folder, teachers, kept))
        return folder

    def _train_expert(self, expert: int, path: Path, splits: Splits, tell: Callable[[dict[str, Any]], None]) -> None:
        model = self.factory.build()

        def on_epoch(epoch: int, parameters: Parameters, loss: float) -> None:
            recall = recalls_on(model, parameters, splits.val).mean
            tell({"expert": expert, "epoch": epoch, "loss": loss, "validation_mean_recall": recall})

        record_expert(
            self.factory,
            splits.train,
            RealTraining.of_teacher(self.config.teacher),
            path,
            self.config.seed,
            "expert",
            expert,
            keep=epochs_to_keep(self.config.teacher, self.config.distill),
            on_epoch=on_epoch,
        )

    def distill(self) -> DistilledSet:
        """Distil what is not distilled yet and return the distilled set.

        Raises:
            ConfigError: the stretches of an outer step cannot be shared out evenly among the ranks.
        """
        if self.method.rule is not None:
            raise ConfigError(
                f"method {self.method.name} chooses real pairs; use `pairstill select` or `pairstill run`"
            )
        self._check_shares()
        if self.ranks.from_main(self._is_distilled):
            return DistilledSet.load(self.folder.distilled)
        config, distill = self.config, self.config.distill
        experts = self.teach() if "trajectories" in self.method.needs else []
        initial, objective = self._problem_of(distill.objective, experts)
        distillation = Distillation(
            config=distill,
            seed=derive_seed(config.seed, "distillation"),
            factory=self.factory,
            tower=self.tower,
            experts=experts,
            initial=initial,
            initial_rates=(distill.lr_image or config.teacher.lr_image, distill.lr_text or config.teacher.lr_text),
            describe=self.description(),
            ranks=self.ranks,
            objective=objective,
        )
        with self._timed("distill"), self._distill_progress() as (on_step, on_checkpoint):
            distilled = distillation.run(self.folder.distillation, on_step, on_checkpoint, self._on_mode)
        if self.ranks.is_main:
            distilled.save(self.folder.distilled)
        return distilled

    def _problem_of(
        self, objective: Literal["trajectory", "projector", "characteristic"], experts: list[Path]
    ) -> tuple[list[InitialPairs], DirectObjective | None]:
        """Return the pairs to start from, and what compares them when trajectories are not matched."""
        config, distill, train = self.config, self.config.distill, self.splits.train
        draw = generator(config.seed, "initial pairs")
        if objective == "characteristic":
            return self._clustered_pairs(experts)
        pairs = initial_pairs(self.manifest, train, distill.phases, distill.init, draw)
        return pairs, ProjectorObjective.of(train, distill.projector) if objective == "projector" else None

    def _clustered_pairs(self, experts: list[Path]) -> tuple[list[InitialPairs], DirectObjective]:
        """Return pairs drawn from clusters of the first teacher's joint features, and the objective on them."""
        config, train, count = self.config.distill.characteristic, self.splits.train, self.config.distill.num_pairs
        draw = generator(self.config.seed, "initial pairs")
        captions = candidates(train, count, draw)
        epoch = Trajectory.open(experts[0]).epochs[-1]
        features = self._joint_features(captions, experts, epoch)
        labels = cluster(features, min(config.clusters, count), derive_seed(self.config.seed, "clusters") % 2**32)
        rows = draw_from_clusters(labels, count, draw)
        model, parameters = self.factory.build(), self._teacher_parameters(experts, epoch)

        def embed(images: Tensor, texts: Tensor) -> Tensor:
            sides = functional_call(model, parameters, (images, texts))
            return torch.cat([normalize(side, dim=1) for side in sides], 1)

        objective = CharacteristicObjective(embed, features, labels, labels[rows], config)
        return [real_pairs(self.manifest, train, captions[rows])], objective

    def select(self) -> DistilledSet:
        """Choose real pairs by the method's rule, unless they are chosen already, and return them.

        Raises:
            ConfigError: the method learns pairs instead.
        """
        rule = self.method.rule
        if rule is None:
            raise ConfigError(
                f"method {self.method.name} learns its pairs; use `pairstill distill` or `pairstill run`, or one of "
                f"the coresets: {', '.join(m.name for m in METHODS if m.rule is not None)}"
            )
        if self.ranks.from_main(self._is_distilled):
            return DistilledSet.load(self.folder.distilled)
        experts = [] if rule == "random" else self.teach()
        train, count = self.splits.train, self.config.distill.num_pairs
        with self._timed("select"):
            captions = candidates(train, count, generator(self.config.seed, "coreset"))
            snapshots = partial(self._joint_features, captions, experts)
            kept = Trajectory.open(experts[0]).epochs if experts else ()
            chosen = captions[choose_rows(rule, count, kept, snapshots)]
            pairs = real_pairs(self.manifest, train, chosen)
        teacher = self.config.teacher
        phase = coreset_phase(pairs, teacher.lr_image, teacher.lr_text)
        selected = DistilledSet((phase,), loss="infonce", **self.description())
        if self.ranks.is_main:
            selected.save(self.folder.distilled)
        self.ranks.barrier()
        return selected

    def _joint_features(self, captions: Tensor, experts: list[Path], epoch: int) -> Tensor:
        """Return the joint features of training pairs by the first teacher after an epoch."""
        parameters = self._teacher_parameters(experts, epoch)
        return joint_features(self.factory.build(), parameters, self.splits.train, captions)

    def _teacher_parameters(self, experts: list[Path], epoch: int) -> Parameters:
        found = Trajectory.open(experts[0]).snapshot(epoch)
        return {name: value.to(self.device) for name, value in found.items()}

    def evaluate(self) -> list[Row]:
        """Measure every asked-for row that is not measured yet, write the table, and return its rows.

        The main rank does this alone: the others leave, and return no rows.
        """
        if not self.leave():
            return []
        evaluate = self.config.evaluate
        distilled = self._distilled() if "distilled" in evaluate.methods else None
        known = {(r["method"], r["seeds"]["student"]) for r in self._current_results()}
        jobs = [
            (method, student)
            for method in evaluate.methods
            for student in range(evaluate.num_students)
            if (self._row_name(method), student) not in known
        ]
        with self._timed("evaluate"), progress_bar(self.console) as progress:
            task = progress.add_task("Students", total=len(jobs), status="")
            for method, student in jobs:
                progress.update(task, status=f"{method}, student {student + 1}")
                result = self._measure(method, student, distilled)
                self.folder.add_result(result)
                self.folder.metrics.write("student", **{k: result[k] for k in ("method", "protocol", "mean_recall")})
                progress.advance(task)
        rows = summarise(self._current_results())
        write_text_atomic(self.folder.path / "results.md", markdown(rows))
        return rows

    def run(self) -> list[Row]:
        """Run every stage."""
        self._check_shares()
        self.prepare()
        if self.method.rule is None:
            self.distill()
        else:
            self.select()
        return self.evaluate()

    def leave(self) -> bool:
        """Part from the other ranks once all are here; return whether this is the main one, which may go on alone."""
        self.ranks.leave()
        if self.ranks.is_main:
            self.ranks = Ranks()
        return self.ranks.is_main

    # details

    def _check_shares(self) -> None:
        stretches, world = self.config.distill.trajectories_per_step, self.ranks.world
        if stretches % world:
            raise ConfigError(
                f"distill.trajectories_per_step is {stretches}, but {world} processes share the stretches of a step: "
                f"it must be a multiple of {world}; set it so, or start as many processes as divide it"
            )

    def _is_distilled(self) -> bool:
        return (self.folder.distilled / "distilled.json").is_file()

    def _current_results(self) -> list[dict[str, Any]]:
        """Return the results that were measured as the settings say now; others stay in the file."""
        return [r for r in self.folder.results() if r.get("measured_as") == self._measured_as(r["method"])]

    def _measured_as(self, method: str) -> str:
        """Return a digest of all that may change in a run's folder and decides a method's numbers."""
        evaluate = self.config.evaluate
        parts: list[Any] = [evaluate.protocol]
        if method != "full":
            parts.append(asdict(self.config.student))
        if method != self._row_name("distilled") or self._rates_are_chosen():
            parts.append(asdict(evaluate.references))
        return digest(json.dumps(parts))[:16]

    def _distilled(self) -> DistilledSet:
        if not self._is_distilled():
            raise ArtifactError(
                f"{self.folder.distilled} holds no distilled set; run `pairstill distill` with these settings first, "
                "or leave `distilled` out of evaluate.methods"
            )
        return DistilledSet.load(self.folder.distilled)

    def _measure(self, method: str, student: int, distilled: DistilledSet | None) -> dict[str, Any]:
        train = self.splits.train
        pixels = 3 * self.image.spec.size**2
        pair_bytes = 4 * (pixels + self.text.spec.width)
        pairs = self.config.evaluate.references.random_pairs or self._budget()
        match method:
            case "distilled":
                assert distilled is not None
                measure = self.bench.at_best_rates if self._rates_are_chosen() else self.bench.distilled
                outcome = measure(distilled, student)
                num_pairs, size = distilled.num_pairs, distilled.storage_bytes
            case "random":
                outcome = self.bench.random(pairs, student)
                num_pairs, size = pairs, pairs * pair_bytes
            case _:
                outcome = self.bench.full(student)
                num_pairs = train.num_captions
                size = 4 * (pixels * train.num_images + self.text.spec.width * train.num_captions)
        return self._result(self._row_name(method), num_pairs, size, student, outcome)

    def _result(self, method: str, num_pairs: int, size: int, student: int, outcome: Outcome) -> dict[str, Any]:
        stages = ("teach", "distill", "select") if method == self._row_name("distilled") else ()
        return {
            "method": method,
            "num_pairs": num_pairs,
            "protocol": self.config.evaluate.protocol,
            "measured_as": self._measured_as(method),
            "seeds": {"run": self.config.seed, "student": student},
            **{key: round(value, 4) for key, value in asdict(outcome.recalls).items()},
            "mean_recall": round(outcome.recalls.mean, 4),
            "validation_mean_recall": None if outcome.validation is None else round(outcome.validation, 4),
            "epoch": outcome.epoch,
            "settings": outcome.settings,
            "seconds": round(outcome.seconds, 2),
            "stage_seconds": {stage: seconds for stage in stages if (seconds := self.folder.seconds(stage)) > 0},
            "bytes": size,
            "peak_memory_bytes": peak_memory_bytes(self.device.type),
            "config": str(self.folder.path / "config.yaml"),
            "commit": commit(),
        }

    def _rates_are_chosen(self) -> bool:
        """Return whether the pairs come without learned rates, so that validation chooses each student's."""
        return self.method.rule is not None or self.config.distill.objective != "trajectory"

    def _row_name(self, method: str) -> str:
        if method != "distilled":
            return method
        return RANDOM_SELECTED if self.method.name == "random" else self.method.name

    def _budget(self) -> int:
        """Return the whole pairs that the distilled set's storage is worth."""
        pairs = self.config.distill.num_pairs
        pair = 3 * self.image.spec.size**2 + self.text.spec.width
        extra = sum(self._similarity_scalars(phase.num_pairs) for phase in self.config.distill.phases)
        return -(-(pairs * pair + extra) // pair)

    def _similarity_scalars(self, pairs: int) -> int:
        if self.config.distill.loss == "infonce":
            return 2
        similarity = self.config.distill.similarity
        return 2 + (pairs**2 if similarity.kind == "full" else pairs * (1 + 2 * similarity.rank) + 1)

    def description(self) -> dict[str, Any]:
        """Return encoders, heads and provenance, as the distilled set states them."""
        return {
            "image_encoder": {
                **self.image.spec.to_json(),
                "trainable": self.config.image.trainable,
                "precision": self.config.image.precision,
            },
            "text_encoder": self.text.spec.to_json(),
            "heads": asdict(self.config.heads),
            "provenance": {
                "method": self.method.name,
                "seed": self.config.seed,
                "data": _describe_data(self.manifest),
                "distill": asdict(self.config.distill),
                "teacher": asdict(self.config.teacher),
                "commit": commit(),
            },
        }

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            self.folder.add_seconds(stage, seconds)
            peak = peak_memory_bytes(self.device.type)
            self.folder.metrics.write("stage", stage=stage, seconds=round(seconds, 1), peak_memory_bytes=peak)

    def _on_mode(self, choice: ModeChoice) -> None:
        """Log and show the hypergradient's mode."""
        self.folder.metrics.write("hypergradient", **asdict(choice))
        why = ""
        if choice.stored_bytes is not None and choice.limit_bytes is not None:
            stored, limit = human_bytes(choice.stored_bytes), human_bytes(choice.limit_bytes)
            why = f" (storing all inner steps' graphs: about {stored}; allowed: {limit})"
        self.console.print(f"Hypergradient: {choice.mode}{why}", style="dim")

    @contextmanager
    def _distill_progress(self) -> Iterator[tuple[Callable[[StepReport], None], Callable[[DistilledSet, int], float]]]:
        """Show and log outer steps and validations."""
        recall = _Last()
        with progress_bar(self.console) as progress:
            tasks: dict[tuple[int, str], Any] = {}

            def on_step(report: StepReport) -> None:
                self.folder.metrics.write("distill_step", **asdict(report))
                task = (report.phase, report.stage)
                if task not in tasks:
                    on = "" if report.stage == "pixels" else f", {report.stage}"
                    name = f"Phase {report.phase} of {len(self.config.distill.phases)}{on}"
                    tasks[task] = progress.add_task(name, total=report.steps, status="")
                rates = f"rates {report.inner_lr_image:.3f} {report.inner_lr_text:.3f}"
                shown = "" if recall.value is None else f", validation recall {recall.value:.1f}"
                status = f"loss {sum(report.losses.values()):.3f}, {rates}{shown}"
                progress.update(tasks[task], completed=report.step, status=status)

            def on_checkpoint(distilled: DistilledSet, step: int) -> float:
                recall.value = self.ranks.from_main(lambda: self.bench.validate(distilled))
                self.folder.metrics.write(
                    "validation", phase=len(distilled.phases), step=step, validation_mean_recall=recall.value
                )
                return recall.value

            yield on_step, on_checkpoint


@dataclass
class _Last:
    """The last validation recall, for display."""

    value: float | None = None


def _describe_data(manifest: Manifest) -> dict[str, Any]:
    return {
        "source": manifest.source,
        "fingerprint": manifest.fingerprint,
        "images": {split: len(manifest.split(split)) for split in ("train", "val", "test")},
        "captions": {split: len(manifest.captions(split)) for split in ("train", "val", "test")},
        "dropped": list(manifest.dropped),
    }
