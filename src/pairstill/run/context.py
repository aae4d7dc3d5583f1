"""The context of a run: its settings, its place among processes, and parts that are built when they are first needed.

A context never changes. What the stages vary, settings and processes, gives another context of the same run; it has the
parts that the difference does not touch in common with the first one.
"""

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from torch import Tensor, nn

from pairstill.config import ImageConfig, LearnedConfig, PhaseConfig, RunConfig, TextConfig
from pairstill.core.devices import check_precision, choose_device
from pairstill.core.extras import need
from pairstill.core.formatting import counted
from pairstill.core.schema import Split
from pairstill.core.torch_state import own_torch_state
from pairstill.core.world import World
from pairstill.data.build import build_manifest
from pairstill.data.manifest import Manifest
from pairstill.encoders.frozen import frozen_part
from pairstill.encoders.image import ImageEncoder, build_image_encoder, check_image_tower
from pairstill.encoders.pixel_space import PixelSpace
from pairstill.encoders.row_files import RowFile
from pairstill.encoders.split import EncodedSplit, Encoding, encode_split
from pairstill.encoders.text import TextEncoder, build_text_encoder, check_text_tower
from pairstill.evaluate.closed_form import ClosedForm, choose_closed_form
from pairstill.evaluate.protocol import Evaluator, Splits
from pairstill.evaluate.retrieval import few_test_images
from pairstill.events import Event, Events, ImagesChecked, Notice, PairDropped, PhasesKnown, StageBegan, StageEnded
from pairstill.methods import find_method, with_method
from pairstill.methods.base import Method
from pairstill.model.dual_encoder import ModelFactory
from pairstill.run.choices import chosen_once
from pairstill.run.data_facts import describe_data
from pairstill.run.eta import ETA
from pairstill.run.folder import RunFolder
from pairstill.run.log import peak_memory_bytes
from pairstill.run.parts import Memo, OneOfSeveral
from pairstill.run.progress import Display, Tally

T = TypeVar("T")


def _need_packages(config: RunConfig) -> None:
    """Stop before any work where a package is missing that the run would need later."""
    for package in find_method(config.method).packages:
        need(package, f"method {config.method}")
    if config.teacher.augment == "paper":
        need("kornia", "teacher.augment paper")
    loop = config.loop if isinstance(config.distill, LearnedConfig) else None
    if loop is not None and loop.images == "kept" and loop.photos.choose == "k_means":
        need("sklearn", "distill.photos.choose k_means")


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What the stages of a run work with; `RunContext.open` begins a run.

    Under torchrun every process has the same context but for its rank, and calls the same stages; the main rank alone
    writes.

    Attributes:
        config: the settings, with the parts that the method sets.
        method: what makes the pairs.
        world: this process among those of the run.
        console: where progress is shown; a quiet one on all ranks but the main one.
        device: where it computes.
        folder: the run's folder, with its log.
        events: the stream of what happens, which the folder's log, a tracker and the display hear.
        display: what shows it on the console.
        memo: the parts that are built so far, over all contexts of the run.
        one_of: which of the run's image towers this is the context of, if there are several and it is of one alone.
    """

    config: RunConfig
    method: Method
    world: World
    console: Console
    device: torch.device
    folder: RunFolder
    events: Events
    display: Display
    memo: Memo = field(default_factory=Memo, repr=False, compare=False)
    one_of: OneOfSeveral | None = None

    @staticmethod
    def open(config: RunConfig, console: Console | None = None, *, writes: bool = True) -> "RunContext":
        """Return the context of a run: the device is fixed, other ranks are met, the run's folder is opened.

        Args:
            config: the run's settings.
            console: where progress is shown, by the main rank; None shows none.
            writes: whether anything is to be done in the run's folder; if not, it is only read.
        """
        given, config = config, with_method(config)
        _need_packages(config)
        method = find_method(config.method)
        world = World.from_environment()
        console = console if console is not None and world.is_main else Console(quiet=True)
        device = choose_device(config.device, world)
        check_precision(config.image.precision, device)
        world.join(device, config.ranks_timeout_minutes)

        display = Display(
            console, ETA(config, _teachers_read(config, method) * len(config.images)), len(config.distill.phases)
        )
        folder = RunFolder(config, given=given, writes=writes and world.is_main, emit=display.hear)
        context = RunContext(
            config=config,
            method=method,
            world=world,
            console=console,
            device=device,
            folder=folder,
            events=Events(folder.hear, display.hear),
            display=display,
        )
        return context.with_chosen_phases()

    def torch_state(self) -> AbstractContextManager[None]:
        """Compute with the run's threads and precision, whatever the program around it has set."""
        return own_torch_state(self.config.threads, tf32=self.config.image.precision == "tf32")

    def _part(self, key: Hashable, build: Callable[[], T]) -> T:
        """Return a part, built in the run's own state of torch."""

        def built() -> T:
            with self.torch_state():
                return build()

        return self.memo.get(key, built)

    def with_config(self, config: RunConfig) -> "RunContext":
        """Return the context of the same run with other settings; parts that these decide are built anew."""
        return replace(self, config=config)

    def with_chosen_phases(self) -> "RunContext":
        """Return the context with the phases that set themselves, if they are to and have; every rank calls it."""
        if self.config.auto_phases is None:
            return self
        phases = self.world.from_main(self.folder.chosen_phases)
        return self if phases is None else self.with_phases(phases)

    def with_phases(self, phases: tuple[PhaseConfig, ...]) -> "RunContext":
        """Return the context with these phases."""
        distill = replace(self.config.matching, phases=phases)
        self.emit(PhasesKnown(phases=phases))
        return self.with_config(replace(self.config, distill=distill))

    def with_encoders(self, image: ImageConfig, text: TextConfig) -> "RunContext":
        """Return the context of the same run, in the same folder, with other encoders."""
        heads = self.config.heads
        if not heads.image:
            heads = replace(heads, width=None)  # the shared space is as wide as the tower
        teacher = replace(
            self.config.teacher, augment="none", views=None, image_is_view=False
        )  # other encoders learn from pairs alone
        config = replace(self.config, image=image, towers=(), text=text, heads=heads, teacher=teacher)
        return replace(self, config=config, one_of=None)

    def with_tower(self, number: int) -> "RunContext":
        """Return the context of the same run, in the same folder, with one of its several image towers alone.

        Args:
            number: which of them, from 0.
        """
        images, place = self.config.images, self.config.trajectories_dir
        if place is not None and number:
            place = str(Path(place).with_name(f"{Path(place).name}_tower{number + 1}"))
        config = replace(self.config, image=images[number], towers=(), trajectories_dir=place)
        return replace(self, config=config, one_of=OneOfSeveral(number, images))

    @property
    def towers(self) -> "tuple[RunContext, ...]":
        """The context of each image tower alone; this one, where there is but one."""
        if not self.config.towers:
            return (self,)
        return tuple(self.with_tower(number) for number in range(len(self.config.images)))

    def with_splits(self, splits: Splits) -> "RunContext":
        """Return the context with these encoded splits, in place of those of the real pairs."""
        return replace(self, memo=self.memo.with_part(self._splits_key, splits))

    def leave(self) -> "RunContext | None":
        """Part from the other ranks once all are here; return the main one's context alone, and None on the others."""
        self.world.leave()
        return replace(self, world=World()) if self.world.is_main else None

    @property
    def cache_dir(self) -> Path:
        """The folder that runs share."""
        return Path(self.config.cache_dir).expanduser()

    @property
    def teachers_seed(self) -> int | None:
        """Seed of the teachers that the method needs, or None if it needs none."""
        return self.config.teachers_seed if {"teacher", "trajectories"} & set(self.method.needs) else None

    def emit(self, event: Event) -> None:
        """Tell all who listen of an event."""
        self.events.emit(event)

    def warn(self, message: str) -> None:
        """Tell of something that may be wrong."""
        self.emit(Notice(text=message))

    @contextmanager
    def counting(self, what: str, total: int, done: int = 0) -> Iterator[Tally]:
        """Give what counts and tells how far something is, and show it.

        Args:
            what: the name of what is counted.
            total: how many there are.
            done: how many are done already.
        """
        with self.display.bars():
            yield Tally(self.emit, what, total, done)

    @property
    def manifest(self) -> Manifest:
        """The checked real pairs; before all are read, the encoders are looked for."""
        for image in self.config.images:
            check_image_tower(image)
        check_text_tower(self.config.text)
        _ = self.given_features, self.config.text.name == "precomputed" and self.text
        return self.pairs

    def chosen(self, name: str, choose: Callable[[], Sequence[Tensor]]) -> list[Tensor]:
        """Return a choice among the real pairs, which is made once: on the main process, for all sittings of the run.

        Args:
            name: of the choice.
            choose: makes it: the numbers of each phase.

        Raises:
            ArtifactError: what was chosen before does not go with the settings or the data.
        """
        # its name begins like those of phases: what has it is begun, see `run.reuse`
        path = self.folder.distillation / f"phases.{name}.safetensors"
        sizes, captions = [phase.num_pairs for phase in self.config.loop.phases], self.splits.train.num_captions
        return self.world.from_main(lambda: chosen_once(path, sizes, captions, choose))

    @property
    def pairs(self) -> Manifest:
        """The checked real pairs, whether or not there are encoders for them."""
        return self._part(("pairs", self.config.data), lambda: self.world.from_main(self._check_pairs))

    def _check_pairs(self) -> Manifest:
        pairs = self.config.distill.num_pairs
        needed = max(pairs, self.config.evaluate.references.random_pairs or 0)
        need: dict[Split, int] = {"train": needed, "val": 1, "test": 1}
        with self.display.bars():
            self.emit(ImagesChecked(done=0, total=None))
            manifest = build_manifest(
                self.config.data, self.cache_dir, need=need, verify=self.config.verify, emit=self.emit
            )
        told = self.folder.is_distilled() and self.folder.data.is_file()
        self.folder.record_data({**describe_data(manifest), **manifest.about})
        if not told:  # whoever uses finished pairs, to search or to export, has read it
            self._tell_of(manifest)
        return manifest

    def _tell_of(self, manifest: Manifest) -> None:
        """Tell what a user must know of the pairs before a long run, and of recalls on them."""
        for problem in manifest.dropped:
            self.emit(PairDropped(problem=problem))
        if manifest.dropped:
            self.warn(f"Left out {counted(len(manifest.dropped), 'bad pair')}; data.json lists them")
        for sentence in manifest.warnings:
            self.warn(sentence)
        if caution := few_test_images(len(manifest.split("test"))):
            self.warn(caution)

    @property
    def image(self) -> ImageEncoder:
        """The image tower; of several, the first."""
        return self._built(self.config.image)

    def _built(self, image: ImageConfig) -> ImageEncoder:
        return self._part(("image", image), lambda: build_image_encoder(image))

    @property
    def pixel_space(self) -> PixelSpace:
        """The space that the pairs' images are stored in: the tower's own, or the common one of several."""
        images = self.config.images if self.one_of is None else self.one_of.images
        specs = [self._built(image).spec for image in images]
        return PixelSpace.common(specs) if len(specs) > 1 else PixelSpace.of_encoder(specs[0])

    @property
    def given_features(self) -> RowFile | None:
        """The file of the real images' features, if there is one."""
        path = self.config.image.features
        if path is None:
            return None
        return self._part(("features", path), lambda: RowFile.open(Path(path).expanduser(), "features"))

    @property
    def text(self) -> TextEncoder:
        """The text tower."""
        return self._part(("text", self.config.text), lambda: build_text_encoder(self.config.text))

    @property
    def tower(self) -> nn.Module | None:
        """What of the image tower is frozen: all, the stages before those that train, or None."""
        config = self.config.image
        return self._part(("tower", config), lambda: frozen_part(self.image, self.device, trains=config.trains))

    @property
    def factory(self) -> ModelFactory:
        """The model."""
        image, text, heads = self.config.image, self.config.text, self.config.heads

        def build() -> ModelFactory:
            return ModelFactory(
                encoder=self.image,
                trainable=image.trains,
                text_width=self.text.spec.width,
                heads=heads,
                device=self.device,
                precision=image.precision,
                info_nce=self.config.info_nce,
            )

        return self._part(("factory", image, text, heads, self.config.info_nce), build)

    @contextmanager
    def encoding(self, what: str) -> Iterator[Encoding]:
        """Give what encodes images and captions, and show its progress."""
        parts, background = (self.image, self.text, self.tower), self.config.data.background
        with self.display.bars():
            yield Encoding(*parts, self.cache_dir, self.device, what, self.emit, background)

    @property
    def num_views(self) -> int:
        """Augmented views of each training image, for models that learn from all real pairs."""
        return self.config.teacher.views or 0

    def _split(self, manifest: Manifest, split: Split) -> EncodedSplit:
        with self.encoding(f"the {split} split") as encoding:
            views = self.num_views if split == "train" else 0
            shared = replace(encoding, world=self.world)
            encoded = encode_split(manifest, split, shared, self.given_features, views)
        if split == "train" and self.config.teacher.image_is_view:
            return replace(encoded, views=(encoded.images, *encoded.views))
        return encoded

    @property
    def _splits_key(self) -> tuple[Hashable, ...]:
        return (
            "splits",
            self.config.data,
            self.config.image,
            self.config.text,
            self.num_views,
            self.config.teacher.image_is_view,
        )

    @property
    def splits(self) -> Splits:
        """The encoded splits."""

        def encode() -> Splits:
            return Splits(*(self._split(manifest, name) for name in ("train", "val", "test")))

        manifest = self.manifest
        return self._part(self._splits_key, encode)  # all ranks together: each encodes its share

    @property
    def evaluator(self) -> Evaluator:
        """What measures students and references."""
        config = self.config
        return Evaluator(
            factory=self.factory,
            tower=self.tower,
            splits=self.splits,
            student=config.student,
            batch_size=config.student.batch_size or config.distill.batch_size,
            teacher=config.teacher,
            evaluate=config.evaluate,
            seed=config.seed,
        )

    @property
    def closed_form(self) -> ClosedForm:
        """How projectors are solved from pairs; validation chooses the ridge."""
        form, splits = self.config.closed_form, self.splits

        def choose() -> ClosedForm:
            return choose_closed_form(self.factory, splits.train, splits.val, form.ridges, form.width)

        return self._part(("closed form", *self._splits_key, self.config.heads, form), choose)

    @property
    def num_teachers(self) -> int:
        """How many teachers the method reads: all, to match their trajectories, or else the first alone."""
        return _teachers_read(self.config, self.method)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add what the block takes to the stage's seconds, and log them with the peak memory."""
        self.emit(StageBegan(stage=stage))
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            self.folder.add_seconds(stage, seconds)
            peak = peak_memory_bytes(self.device)
            self.emit(StageEnded(stage=stage, seconds=round(seconds, 1), peak_memory_bytes=peak))


def _teachers_read(config: RunConfig, method: Method) -> int:
    return config.teacher.num_experts if method.all_teachers else 1
