"""What a run will take: a short probe of the run's own code on rows of the right shapes, multiplied by the counts.

The probe does a few teacher mini-batches, a few outer steps of each phase and a few student epochs, with made-up
features and teachers that walked at random: what is in the tensors does not change what they take. It writes into a
temporary folder only.
"""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from pairstill.config import DistillConfig, HypergradientConfig, RunConfig, StudentConfig
from pairstill.data.loader import read_images
from pairstill.distill.auto_phases import Segment, most_phases, sized_phases
from pairstill.distill.hypergradient import Mode
from pairstill.distill.initial import InitialPairs
from pairstill.distill.memory import ModeChoice, device_bytes
from pairstill.distill.outer_loop import StepReport
from pairstill.distill.phases import Distillation
from pairstill.distilled import DistilledSet
from pairstill.encoders.cache import CachedRows
from pairstill.encoders.split import TOWER_BATCH, EncodedSplit
from pairstill.errors import ConfigError
from pairstill.evaluate.protocol import Splits, recalls_on
from pairstill.evaluate.student import StudentPhase, student_phases, train_student
from pairstill.methods import METHODS, find_method, with_method
from pairstill.methods.base import Method
from pairstill.pipeline import Pipeline
from pairstill.report.plans import Plan, PlannedMode, PlannedStage
from pairstill.rng import derive_seed, generator
from pairstill.runlog import peak_memory_bytes
from pairstill.schema import SPLITS, Split
from pairstill.trajectories.teacher import RealTraining, epochs_to_keep, train_on_real_pairs
from pairstill.trajectories.trajectory import SHARED, TrajectoryRecorder

PROBE_STEPS = 4  # the first of them also warms up, and is not counted
PROBE_BATCHES = 4
PROBE_EPOCHS = 3
WALK = 1e-3  # of the parameters' own scale: how far the made-up teachers go in an epoch


@dataclass(frozen=True)
class Counts:
    """How often a fresh run does each thing; a pure function of the settings and the sizes.

    Attributes:
        teacher_batches: mini-batches of an epoch of a teacher.
        teacher_epochs: epochs over all teachers.
        full_epochs: epochs of one full-data reference, over its grid of rates.
        validations: of each phase while it is distilled.
        recalls_per_phase: epochs of a student's phase that are validated.
    """

    teacher_batches: int
    teacher_epochs: int
    full_epochs: int
    validations: tuple[int, ...]
    recalls_per_phase: int


def count(config: RunConfig, images: int, captions: int) -> Counts:
    """Return the counts of a run on a training split with so many images and captions."""
    teacher, distill, references = config.teacher, config.distill, config.evaluate.references
    items = captions if teacher.captions == "all" else images
    batches = items // teacher.batch_size + (items % teacher.batch_size >= 2)
    every = distill.validate_every
    return Counts(
        teacher_batches=batches,
        teacher_epochs=teacher.num_experts * teacher.epochs,
        full_epochs=len(references.rate_scales) * (references.full_epochs or teacher.epochs),
        validations=tuple(math.ceil(phase.outer_steps / every) if every else 0 for phase in distill.phases),
        recalls_per_phase=validated_epochs(config.student),
    )


def validated_epochs(student: StudentConfig) -> int:
    """Return how many epochs of a student's phase are validated."""
    return student.epochs // student.validate_every + (student.epochs % student.validate_every > 0)


def make_plan(config: RunConfig, tell: Callable[[str], None] = lambda stage: None) -> Plan:
    """Probe the run that `config` describes and return what it will take; nothing is written to its folder.

    Args:
        config: the run's settings.
        tell: called with what is probed next.

    Raises:
        PairstillError: what the run itself would raise for these settings and pairs.
    """
    config = with_method(config)
    if find_method(config.method).rule is not None or config.distill.objective != "trajectory":
        raise ConfigError(
            f"method {config.method} matches no trajectories; plan knows the methods that do: "
            + ", ".join(method.name for method in METHODS if _matches_trajectories(method))
        )
    config = replace(config, distill=_stand_in(config))
    with TemporaryDirectory(prefix="pairstill-plan-") as folder:
        probe = _Probe(replace(config, run_dir=str(Path(folder) / "run")))
        return _plan(config, probe, Path(folder), tell)


def _stand_in(config: RunConfig) -> DistillConfig:
    """Return the distillation's settings; in place of phases that set themselves, as many equal ones as there may be.

    What a phase takes depends on its pairs and steps, not on where it starts and ends.
    """
    distill, auto = config.distill, config.distill.auto_phases
    if auto is None:
        return distill
    steps = sum(phase.outer_steps for phase in distill.phases)
    count = most_phases(auto, distill.num_pairs, steps) if distill.phased else 1
    last = Segment(0, config.teacher.epochs - distill.matching_span, config.teacher.epochs, 1.0)
    equal = sized_phases([last] * count, torch.ones(config.teacher.epochs), distill.num_pairs, steps, auto.min_pairs)
    return replace(distill, phases=equal)


def _matches_trajectories(method: Method) -> bool:
    return method.rule is None and method.set_parts(DistillConfig()).objective == "trajectory"


class _Probe(Pipeline):
    """A run on made-up rows: the sizes are the real pairs', the values are not."""

    @cached_property
    def splits(self) -> Splits:
        """Splits of random rows, with as many images and captions as the real ones."""
        return Splits(*(self._made_up(name) for name in ("train", "val", "test")))

    def _made_up(self, split: Split) -> EncodedSplit:
        images, owner = len(self.manifest.split(split)), torch.tensor(self.manifest.caption_owner(split))
        size, draw = self.image.spec.size, generator("plan", split)
        if self.tower is None:
            # one image's memory stands for all
            one = torch.randint(256, (1, 3, size, size), generator=draw, dtype=torch.uint8)
            rows = one.expand(images, 3, size, size)
        else:
            rows = torch.randn(images, self.image.spec.width, generator=draw)
        texts = torch.randn(len(owner), self.text.spec.width, generator=draw)
        return EncodedSplit(CachedRows([rows]), CachedRows([texts]), owner, self.image.spec, self.device)


def _seconds(call: Callable[[], Any], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


@dataclass(frozen=True)
class _Speeds:
    """Seconds of a teacher's mini-batch, and of measuring recall on each split."""

    batch: float
    val_recall: float
    test_recall: float


@dataclass(frozen=True)
class _StudentSpeeds:
    """Seconds of the tower's pass over all pairs, and of a student's epoch on each phase and on random pairs."""

    tower: float
    epochs: tuple[float, ...]
    random_epoch: float


@dataclass(frozen=True)
class _DistillProbe:
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


def _plan(config: RunConfig, probe: _Probe, folder: Path, tell: Callable[[str], None]) -> Plan:
    tell("pairs")
    train = probe.splits.train
    counts = count(config, train.num_images, train.num_captions)
    tell("encoding and teachers")
    encoding = _encoding_seconds(probe)
    model, initial = probe.factory.build(), probe.factory.initial_parameters("plan")
    speeds = _Speeds(
        batch=_batch_seconds(probe),
        val_recall=_seconds(lambda: recalls_on(model, initial, probe.splits.val), probe.device),
        test_recall=_seconds(lambda: recalls_on(model, initial, probe.splits.test), probe.device),
    )
    expert = _write_expert(probe, folder)
    tell("distillation")
    found = _distill(probe, expert, folder)
    tell("students")
    students = _student_seconds(probe, found.distilled)
    shared = expert.parent / SHARED
    expert_bytes = expert.stat().st_size
    trajectories = expert_bytes * config.teacher.num_experts + (shared.stat().st_size if shared.is_file() else 0)
    disk = trajectories + _other_disk_bytes(probe, found.distilled)
    free = shutil.disk_usage(_existing(Path(config.run_dir))).free
    memory = device_bytes(probe.device)
    modes = _modes(found, config.distill, memory)
    return Plan(
        stages=(
            PlannedStage("prepare", encoding, "unless it is cached"),
            *_stages(config, counts, speeds, found, students),
        ),
        seconds_per_step=found.step_seconds,
        expert_bytes=expert_bytes,
        trajectory_bytes=trajectories,
        disk_bytes=disk,
        free_disk_bytes=free,
        modes=modes,
        chosen_mode=found.mode,
        memory_bytes=memory,
        warnings=warnings_of(config, modes, found.mode, disk, free),
    )


def _stages(
    config: RunConfig, counts: Counts, speeds: _Speeds, found: _DistillProbe, students: _StudentSpeeds
) -> tuple[PlannedStage, ...]:
    """Multiply what the probe found by how often the run does it."""
    student, evaluate, distill = config.student, config.evaluate, config.distill
    recalls = counts.recalls_per_phase * speeds.val_recall
    phases = [student.epochs * epoch for epoch in students.epochs]
    # while a phase is distilled, its students go through the earlier ones too, but only its own epochs are validated
    validations = [students.tower + sum(phases[: number + 1]) + recalls for number in range(len(phases))]
    distilling = sum(found.warm_seconds) + sum(
        phase.outer_steps * step + times * validation
        for phase, step, times, validation in zip(
            distill.phases, found.step_seconds, counts.validations, validations, strict=True
        )
    )
    choosers = {"strict": speeds.val_recall, "paper": speeds.test_recall}
    choice = sum(choosers[protocol] for protocol in evaluate.protocols)  # of an epoch
    choices = counts.recalls_per_phase * choice
    by_method = {
        "closed_form": students.tower + speeds.val_recall,
        "distilled": students.tower + sum(phases) + len(phases) * choices,
        "random": len(evaluate.references.rate_scales) * (student.epochs * students.random_epoch + choices),
        "full": counts.full_epochs * (counts.teacher_batches * speeds.batch + choice),
    }
    last = len(evaluate.protocols) * speeds.test_recall
    measuring = evaluate.num_students * sum(by_method[method] + last for method in evaluate.methods)
    pairs = zip(distill.phases, found.step_seconds, strict=True)
    steps = ", ".join(f"{phase.outer_steps} x {seconds:.2g} s" for phase, seconds in pairs)
    at_most = "at most " if distill.patience else ""
    warm = "a warm start, " if any(found.warm_seconds) else ""
    if distill.auto_phases is not None:
        warm += f"as if {len(phases)} equal phases set themselves, without the choice, "
    return (
        PlannedStage(
            "teach",
            counts.teacher_epochs * (counts.teacher_batches * speeds.batch + speeds.val_recall),
            f"{counts.teacher_epochs} epochs of {counts.teacher_batches} mini-batches",
        ),
        PlannedStage(
            "distill",
            distilling,
            f"{at_most}{steps}, {warm}and {sum(counts.validations)} validations",
        ),
        PlannedStage("evaluate", measuring, f"{evaluate.num_students} students of {', '.join(evaluate.methods)}"),
    )


def _existing(path: Path) -> Path:
    path = path.absolute()
    return path if path.exists() else _existing(path.parent)


def _encoding_seconds(probe: _Probe) -> float:
    """Return the seconds of reading and encoding all pairs, from one batch of each."""
    manifest = probe.manifest
    paths = manifest.image_paths("train")[:TOWER_BATCH]
    pixels = _seconds(lambda: read_images(paths, probe.image.spec.size), probe.device) / len(paths)
    if probe.tower is not None:
        size, tower = probe.image.spec.size, probe.tower
        batch = torch.zeros(len(paths), 3, size, size, device=probe.device)
        with torch.no_grad():
            tower(batch)
            pixels += _seconds(lambda: tower(batch), probe.device) / len(paths)
    captions = manifest.captions("train")[: 2 * TOWER_BATCH]
    probe.text.encode(captions[:8])
    text = _seconds(lambda: probe.text.encode(captions), probe.device) / len(captions)
    images = sum(len(manifest.split(split)) for split in SPLITS)
    return images * pixels + sum(len(manifest.captions(split)) for split in SPLITS) * text


def _batch_seconds(probe: _Probe) -> float:
    """Return the seconds of a teacher's mini-batch."""
    config, train = probe.config.teacher, probe.splits.train
    size = config.batch_size
    initial, model = probe.factory.initial_parameters("plan"), probe.factory.build()

    def epoch(batches: int) -> None:
        rows = torch.arange(min(batches * size, train.num_images))
        few = EncodedSplit(
            CachedRows([train.images.take(rows)]),
            CachedRows([train.text_embeddings.take(rows)]),
            rows,
            train.spec,
            train.device,
        )
        training = replace(RealTraining.of_teacher(config), epochs=1, captions="all")
        list(train_on_real_pairs(probe.factory, model, initial, few, training, "plan"))

    epoch(1)
    batches = max(1, min(PROBE_BATCHES, train.num_images // size))
    return _seconds(lambda: epoch(batches), probe.device) / batches


def _write_expert(probe: _Probe, folder: Path) -> Path:
    """Write a teacher that walked at random, as a real one is written, and return its file."""
    initial, draw = probe.factory.initial_parameters("plan"), generator("plan", "walk")
    keep = epochs_to_keep(probe.config.teacher, probe.config.distill)
    recorder, now = TrajectoryRecorder(initial, keep), initial
    for _ in range(probe.config.teacher.epochs):
        now = {name: value + WALK * torch.randn(value.shape, generator=draw).to(value) for name, value in now.items()}
        recorder.add(now)
    path = folder / "trajectories" / "expert_0000.safetensors"
    recorder.save(path, {"made": "by pairstill plan"})
    return path


def _distill(probe: _Probe, expert: Path, folder: Path) -> _DistillProbe:
    """Do a few outer steps of every phase."""
    config, distill = probe.config, probe.config.distill
    warm = distill.features_first
    phases = tuple(replace(phase, outer_steps=PROBE_STEPS) for phase in distill.phases)
    distillation = Distillation(
        config=replace(
            distill,
            phases=phases,
            validate_every=0,
            patience=0,
            checkpoint_every=PROBE_STEPS,
            features_first=replace(warm, steps=PROBE_STEPS * (warm.steps > 0), inversion_steps=PROBE_STEPS),
        ),
        seed=derive_seed("plan"),
        factory=probe.factory,
        tower=probe.tower,
        experts=[expert],
        initial=[_pairs(probe, phase.num_pairs) for phase in phases],
        initial_rates=(distill.lr_image or config.teacher.lr_image, distill.lr_text or config.teacher.lr_text),
        describe=probe.description(),
    )
    ends: dict[tuple[int, str], list[float]] = {}
    choices: list[ModeChoice] = []

    def on_step(report: StepReport) -> None:
        ends.setdefault((report.phase, report.stage), []).append(time.perf_counter())

    distilled = distillation.run(folder / "distillation", on_step, _no_validation, choices.append)
    peak = peak_memory_bytes(probe.device.type)
    mode = choices[-1].mode
    if distill.hypergradient.mode != "auto":
        # only `auto` estimates the graphs
        choices.clear()
        once = replace(distillation.config, phases=tuple(replace(phase, outer_steps=1) for phase in phases))
        asked = replace(once, hypergradient=HypergradientConfig(mode="auto", memory=distill.hypergradient.memory))
        replace(distillation, config=asked).run(
            folder / "estimate", lambda report: None, _no_validation, choices.append
        )
    seconds = {
        stage: median(after - before for before, after in zip(times, times[1:], strict=False))
        for stage, times in ends.items()
    }
    numbers = range(1, len(phases) + 1)
    warming = []
    for number in numbers:
        on_features = seconds.get((number, "features"))
        if on_features is None:
            warming.append(0.0)
            continue
        # between the last step on features and the end of the first on pixels, the pixels are found
        pixels = ends[number, "pixels"][0] - ends[number, "features"][-1] - seconds[number, "pixels"]
        warming.append(warm.steps * on_features + max(0.0, pixels) * warm.inversion_steps / PROBE_STEPS)
    graph = max(choice.stored_bytes or 0 for choice in choices) // distill.inner_steps
    on_pixels = tuple(seconds[number, "pixels"] for number in numbers)
    return _DistillProbe(on_pixels, tuple(warming), distilled, mode, graph, peak)


def _no_validation(distilled: DistilledSet, step: int) -> float:
    return 0.0


def _pairs(probe: _Probe, pairs: int) -> InitialPairs:
    """Return made-up initial pairs."""
    size, draw = probe.image.spec.size, generator("plan", "pairs", pairs)
    return InitialPairs(
        images=torch.randn(pairs, 3, size, size, generator=draw),
        text_embeddings=torch.randn(pairs, probe.text.spec.width, generator=draw),
        captions=("",) * pairs,
        sources=("",) * pairs,
    )


def _student_seconds(probe: _Probe, distilled: DistilledSet) -> _StudentSpeeds:
    found: list[list[StudentPhase]] = []
    loss: Literal["wbce", "infonce"] = "infonce" if distilled.loss == "infonce" else "wbce"
    tower = _seconds(
        lambda: found.append(student_phases(distilled.phases, loss, probe.tower, probe.device)), probe.device
    )
    epochs = tuple(_epoch_seconds(probe, phase, loss, probe.bench.batch_size) for phase in found[0])
    return _StudentSpeeds(tower, epochs, _random_epoch_seconds(probe))


def _random_epoch_seconds(probe: _Probe) -> float:
    """Return the seconds of a student's epoch on random pairs."""
    config, train = probe.config, probe.splits.train
    pairs = min(config.evaluate.references.random_pairs or config.distill.num_pairs, train.num_images)
    rows = torch.arange(pairs)
    rates = config.teacher.lr_image, config.teacher.lr_text
    phase = StudentPhase(train.image_inputs(rows), train.texts(rows), None, *rates)
    return _epoch_seconds(probe, phase, "infonce", config.teacher.batch_size)


def _epoch_seconds(probe: _Probe, phase: StudentPhase, loss: Literal["wbce", "infonce"], batch_size: int) -> float:
    # tiny rates: the made-up pairs must not make the student diverge
    calm = replace(phase, lr_image=1e-6, lr_text=1e-6)
    model = probe.factory.build()

    def train(epochs: int) -> None:
        student = replace(probe.config.student, epochs=epochs, validate_every=epochs)
        list(train_student(probe.factory, model, [calm], loss, student, "plan", batch_size=batch_size))

    train(1)
    return _seconds(lambda: train(PROBE_EPOCHS), probe.device) / PROBE_EPOCHS


def _other_disk_bytes(probe: _Probe, distilled: DistilledSet) -> int:
    """Return the bytes of the cache's rows, the distilled set, its phases, and a checkpoint five times as large."""
    manifest, size = probe.manifest, probe.image.spec.size
    image = 3 * size**2 if probe.tower is None else 4 * probe.image.spec.width
    images = sum(len(manifest.split(split)) for split in SPLITS)
    captions = sum(len(manifest.captions(split)) for split in SPLITS)
    return images * image + captions * 4 * probe.text.spec.width + (2 + 5) * distilled.storage_bytes


def _modes(found: _DistillProbe, distill: DistillConfig, memory: int) -> tuple[PlannedMode, ...]:
    """Return each mode's peak: the probe's, with the graphs that it held exchanged for those that the mode holds."""
    modes: tuple[Mode, ...] = ("exact_store", "exact_recompute", "truncated", "unrolled")
    if found.mode == "exact_span":
        modes = ("exact_span",)  # the others' graphs are not probed: nobody would choose them
    base = found.peak_bytes - graphs_held(found.mode, distill.inner_steps) * found.graph_bytes
    planned = []
    for mode in modes:
        peak = max(base, 0) + graphs_held(mode, distill.inner_steps) * found.graph_bytes
        planned.append(PlannedMode(mode, peak, peak <= memory))
    return tuple(planned)


def graphs_held(mode: str, inner_steps: int) -> int:
    """Return how many inner steps' graphs a mode holds at once."""
    if mode == "exact_span":
        return 0
    return inner_steps if mode in ("exact_store", "unrolled") else 1


def warnings_of(
    config: RunConfig, modes: tuple[PlannedMode, ...], chosen: str, disk: int, free: int
) -> tuple[str, ...]:
    """Return what will not fit, each with the settings that would make it fit."""
    warnings = []
    (used,) = (mode for mode in modes if mode.mode == chosen)
    if not used.fits:
        others = [mode.mode for mode in modes if mode.fits and mode.mode == "exact_recompute"]
        smaller = f"{'set distill.hypergradient.micro_batch, ' if config.image.trainable else ''}lower image.size"
        knob = "set distill.hypergradient.mode to exact_recompute" if others else smaller
        warnings.append(
            f"{chosen} will not fit into memory: {knob}, or lower distill.batch_size or distill.inner_steps"
        )
    if disk > free:
        knobs = ["lower teacher.num_experts", "choose a run_dir on a larger disk"]
        if config.teacher.keep == "all" and config.distill.auto_phases is None:
            knobs.insert(0, "set teacher.keep to endpoints")
        warnings.append(f"the run's files will not fit on the disk: {', or '.join(knobs)}")
    return tuple(warnings)
