"""The parts of a run, built from its settings when they are first needed."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import copy
from dataclasses import asdict, replace
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from rich.console import Console
from rich.progress import Progress
from torch import nn

from pairstill.config import ImageConfig, PhaseConfig, RunConfig, TextConfig
from pairstill.data.manifest import Manifest, build_manifest
from pairstill.devices import check_precision, choose_device
from pairstill.distilled import DistilledSet
from pairstill.encoders.frozen import frozen_tower
from pairstill.encoders.image import ImageEncoder, build_image_encoder, check_image_tower
from pairstill.encoders.row_files import RowFile
from pairstill.encoders.split import EncodedSplit, Encoding, encode_split
from pairstill.encoders.text import TextEncoder, build_text_encoder
from pairstill.errors import ArtifactError, ConfigError, DataError, MissingDependencyError
from pairstill.evaluate.closed_form import ClosedForm, choose_closed_form
from pairstill.evaluate.protocol import Bench, Splits
from pairstill.methods import find_method, with_method
from pairstill.model.dual_encoder import ModelFactory
from pairstill.outlook import Outlook
from pairstill.provenance import commit
from pairstill.ranks import Ranks
from pairstill.runfolder import RunFolder
from pairstill.runlog import peak_memory_bytes, progress_bar
from pairstill.schema import Split
from pairstill.torch_state import own_torch_state
from pairstill.wording import counted

FEW_TEST_IMAGES = 100
"""With fewer images to find, blind guesses reach a recall at 10 of more than 10 %."""
ENCODED_PARTS = ("image", "given_features", "text", "tower", "factory", "splits", "bench", "closed_form")
"""Parts that are built from the encoders."""

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")
_Parts = TypeVar("_Parts", bound="Parts")


def as_set(
    method: Callable[Concatenate[_Parts, _Given], _Result],
) -> Callable[Concatenate[_Parts, _Given], _Result]:
    """Let a method of a run compute with its threads and precision, and leave the process as it was."""

    @wraps(method)
    def call(self: _Parts, *args: _Given.args, **options: _Given.kwargs) -> _Result:
        with self.torch_state():
            return method(self, *args, **options)

    return call


class Parts:
    """What the stages of a run work with.

    Under torchrun every process builds the same parts and calls the same stages; the main rank alone writes.
    """

    def __init__(self, config: RunConfig, console: Console | None = None, *, writes: bool = True) -> None:
        """Fix device and threads, meet the other ranks if there are any, and open the run's folder.

        Args:
            config: the run's settings.
            console: where progress is shown, by the main rank; None shows none.
            writes: whether anything is to be done in the run's folder; if not, it is only read.
        """
        config = with_method(config)
        self.config = config
        self.method = find_method(config.method)
        self.ranks = Ranks.from_environment()
        self.console = console if console is not None and self.ranks.is_main else Console(quiet=True)
        self.device = choose_device(config.device, self.ranks)
        check_precision(config.image.precision, self.device)
        self.ranks.join(self.device, config.ranks_timeout_minutes)
        self.folder = RunFolder(config, writes=writes and self.ranks.is_main, warn=self._warn)
        self.outlook = Outlook(config)
        self.outlook.left["teach"] = {"epoch": self.num_teachers * config.teacher.epochs}
        self.folder.metrics.listen(self.outlook.hear)
        if config.distill.auto_phases is not None:
            self.set_phases(self.ranks.from_main(self.folder.chosen_phases))
        self.cache_dir = Path(config.cache_dir).expanduser()
        self._entered = ExitStack()

    def torch_state(self) -> AbstractContextManager[None]:
        """Compute with the run's threads and precision, whatever the program around it has set."""
        return own_torch_state(self.config.threads, tf32=self.config.image.precision == "tf32")

    def __enter__(self) -> Self:
        """Leave no new folder behind if settings or data turn out to be wrong before anything is made."""
        self._entered.enter_context(self.torch_state())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Remove the folder if it is new and empty, and the run failed over its settings or data."""
        self._entered.close()
        if kind is not None and issubclass(kind, (ConfigError, DataError, ArtifactError, MissingDependencyError)):
            self.folder.forsake()

    def set_phases(self, phases: tuple[PhaseConfig, ...] | None) -> None:
        """From now on have the phases that set themselves, unless they have not yet."""
        if phases is not None:
            self.config = replace(self.config, distill=replace(self.config.distill, phases=phases))
            self.outlook.count_steps(self.config.distill)

    def progress(self) -> Progress:
        """Return a progress display, which says where the run stands."""
        return progress_bar(self.console, self.outlook.heading, self.outlook.ahead)

    def _warn(self, message: str) -> None:
        self.console.print(message, style="yellow", markup=False)

    @cached_property
    @as_set
    def manifest(self) -> Manifest:
        """The checked real pairs; before all are read, the encoders are looked for."""
        check_image_tower(self.config.image)
        _ = self.given_features, self.config.text.name == "precomputed" and self.text
        return self.pairs

    @cached_property
    def pairs(self) -> Manifest:
        """The checked real pairs, whether or not there are encoders for them."""
        return self.ranks.from_main(self._check_pairs)

    def _check_pairs(self) -> Manifest:
        pairs = self.config.distill.num_pairs
        needed = max(pairs, self.config.evaluate.references.random_pairs or 0)
        need: dict[Split, int] = {"train": needed, "val": 1, "test": 1}
        with self.progress() as progress:
            task = progress.add_task("Checking the pairs", total=None, status="")

            def on_images(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            manifest = build_manifest(
                self.config.data, self.cache_dir, need=need, verify=self.config.verify, on_images=on_images
            )
        self.folder.record_data(_describe_data(manifest))
        for problem in manifest.dropped:
            self.folder.metrics.write("dropped_pair", problem=problem)
        if manifest.dropped:
            self._warn(f"Left out {counted(len(manifest.dropped), 'bad pair')}; data.json lists them")
        if (images := len(manifest.split("test"))) < FEW_TEST_IMAGES:
            self._warn(
                f"The test split has only {counted(images, 'image')}: for a caption, ten images drawn blindly hold the "
                f"right one in {100 * min(10, images) / images:.0f} % of cases, so R@10 says little, and no recall "
                f"compares with one on a larger split. Give it {FEW_TEST_IMAGES} images or more"
            )
        return manifest

    def check_data(self, distilled: DistilledSet, or_else: str = "") -> None:
        """Check that the real pairs are those that a set was made of.

        Args:
            distilled: the set.
            or_else: what can be done instead of putting the old pairs back, for the message.

        Raises:
            DataError: they are not.
        """
        made_of = distilled.provenance.get("data", {}).get("fingerprint")
        if made_of != self.manifest.fingerprint:
            raise DataError(
                "the real pairs are not those that the distilled set was made of: their fingerprint is "
                f"{self.manifest.fingerprint[:16]}, and the set was made of {str(made_of)[:16]}; put the old pairs "
                f"back{or_else}"
            )

    @cached_property
    @as_set
    def image(self) -> ImageEncoder:
        """The image tower."""
        return build_image_encoder(self.config.image)

    @cached_property
    @as_set
    def given_features(self) -> RowFile | None:
        """The file of the real images' features, if there is one."""
        path = self.config.image.features
        return None if path is None else RowFile.open(Path(path).expanduser(), "features")

    @cached_property
    @as_set
    def text(self) -> TextEncoder:
        """The text tower."""
        return build_text_encoder(self.config.text)

    @cached_property
    @as_set
    def tower(self) -> nn.Module | None:
        """The image tower when it is frozen."""
        return None if self.config.image.trainable else frozen_tower(self.image, self.device)

    @cached_property
    @as_set
    def factory(self) -> ModelFactory:
        """The model."""
        config = self.config
        image = config.image
        return ModelFactory(
            self.image,
            image.trainable,
            self.text.spec.width,
            config.heads,
            self.device,
            image.precision,
            config.info_nce,
        )

    @contextmanager
    def encoding(self, what: str) -> Iterator[Encoding]:
        """Give what encodes images and captions, and show its progress."""
        with self.progress() as progress:
            tasks: dict[str, Any] = {}

            def on_rows(kind: str, done: int, total: int) -> None:
                if kind not in tasks:
                    tasks[kind] = progress.add_task(f"Encoding {what}: {kind}", total=total, status="")
                progress.update(tasks[kind], completed=done)

            yield Encoding(self.image, self.text, self.tower, self.cache_dir, self.device, on_rows)

    @property
    def num_views(self) -> int:
        """Augmented views of each training image, for models that learn from all real pairs."""
        return self.config.teacher.views or 0

    def _split(self, manifest: Manifest, split: Split) -> EncodedSplit:
        with self.encoding(f"the {split} split") as encoding:
            views = self.num_views if split == "train" else 0
            encoded = encode_split(manifest, split, encoding, self.given_features, views)
        if split == "train" and self.config.teacher.image_is_view:
            return replace(encoded, views=(encoded.images, *encoded.views))
        return encoded

    @cached_property
    @as_set
    def splits(self) -> Splits:
        """The encoded splits."""
        manifest = self.manifest  # all ranks together, before they take turns

        def encode() -> Splits:
            return Splits(*(self._split(manifest, name) for name in ("train", "val", "test")))

        return self.ranks.main_first(encode)

    @cached_property
    @as_set
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

    @cached_property
    def closed_form(self) -> ClosedForm:
        """How projectors are solved from pairs; validation chooses the ridge."""
        projector, splits = self.config.distill.projector, self.splits
        return choose_closed_form(self.factory, splits.train, splits.val, projector.ridges, projector.width)

    def with_encoders(self, image: ImageConfig, text: TextConfig) -> "Parts":
        """Return the parts of the same run, in the same folder, with other encoders."""
        heads = self.config.heads
        if not heads.image:
            heads = replace(heads, width=None)  # the shared space is as wide as the tower
        other = copy(self)
        for name in ENCODED_PARTS:
            other.__dict__.pop(name, None)
        # only pairs are learned from with other encoders
        teacher = replace(self.config.teacher, augment="none", views=None, image_is_view=False)
        other.config = replace(self.config, image=image, text=text, heads=heads, teacher=teacher)
        return other

    @property
    def num_teachers(self) -> int:
        """How many teachers the method reads: all, to match their trajectories, or else the first alone."""
        reads_all = self.method.rule is None and self.config.distill.objective == "trajectory"
        return self.config.teacher.num_experts if reads_all else 1

    @property
    def teachers_seed(self) -> int | None:
        """Seed of the teachers that the method needs, or None if it needs none."""
        return self.config.teachers_seed if {"teacher", "trajectories"} & set(self.method.needs) else None

    def leave(self) -> bool:
        """Part from the other ranks once all are here; return whether this is the main one, which may go on alone."""
        self.ranks.leave()
        if self.ranks.is_main:
            self.ranks = Ranks()
        return self.ranks.is_main

    def encoders(self) -> dict[str, Any]:
        """Return encoders and heads, as the distilled set states them."""
        return {
            "image_encoder": {
                **self.image_facts(),
                "trainable": self.config.image.trainable,
                "precision": self.config.image.precision,
            },
            "text_encoder": self.text.spec.to_json(),
            "heads": asdict(self.config.heads),
        }

    def image_facts(self) -> dict[str, Any]:
        """Return the image tower's specification, and which file its features come from, if from one."""
        given = self.given_features
        return {**self.image.spec.to_json(), **({} if given is None else {"features": given.digest})}

    def description(self) -> dict[str, Any]:
        """Return encoders, heads, InfoNCE's convention and provenance, as the distilled set states them."""
        return {
            **self.encoders(),
            "info_nce": self.config.info_nce,
            "provenance": {
                "method": self.method.name,
                "seed": self.config.distillation_seed,
                "teachers_seed": self.teachers_seed,
                "data": _describe_data(self.manifest),
                "distill": asdict(self.config.distill),
                "teacher": asdict(self.config.teacher),
                "commit": commit(),
            },
        }

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add what the block takes to the stage's seconds, and log them with the peak memory."""
        before = self.outlook.place()
        self.outlook.enter(stage)
        if not self.console.is_terminal and (place := self.outlook.place()) != before:
            self.console.print(place, highlight=False)  # on a terminal it stands above the bars
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            self.folder.add_seconds(stage, seconds)
            peak = peak_memory_bytes(self.device)
            self.folder.metrics.write("stage", stage=stage, seconds=round(seconds, 1), peak_memory_bytes=peak)


def _describe_data(manifest: Manifest) -> dict[str, Any]:
    return {
        "source": manifest.source,
        "fingerprint": manifest.fingerprint,
        "test_fingerprint": manifest.split_fingerprint("test"),
        "images": {split: len(manifest.split(split)) for split in ("train", "val", "test")},
        "captions": {split: len(manifest.captions(split)) for split in ("train", "val", "test")},
        "dropped": list(manifest.dropped),
    }
