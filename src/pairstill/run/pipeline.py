"""The wiring of a run: its stages work with its context, and so do studies of it."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

from rich.console import Console

from pairstill.config import RunConfig
from pairstill.core.errors import ArtifactError, ConfigError, DataError, MissingDependencyError
from pairstill.core.extras import need
from pairstill.data.manifest import Manifest
from pairstill.distilled import DistilledSet
from pairstill.evaluate.results import Row
from pairstill.events import StagesPlanned
from pairstill.run import distill, encoded, evaluate, export, teach
from pairstill.run.context import RunContext
from pairstill.run.encoded import EncodedFiles
from pairstill.run.export import Export
from pairstill.run.folder import RunFolder

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def as_set(method: Callable[Concatenate["Run", _Given], _Result]) -> Callable[Concatenate["Run", _Given], _Result]:
    """Let a method of a run compute with its threads and precision, and leave the process as it was."""

    @wraps(method)
    def call(self: "Run", *args: _Given.args, **options: _Given.kwargs) -> _Result:
        with self.context.torch_state():
            return method(self, *args, **options)

    return call


class Run:
    """One run: its stages can be called alone and again; what is done is not done again.

    Under torchrun teachers and segments are shared out among the processes, the main rank alone writes and measures.
    Whatever measures is the last stage, where the other ranks are let go: they return nothing.
    """

    def __init__(self, config: RunConfig, console: Console | None = None, *, writes: bool = True) -> None:
        """Open the run.

        Args:
            config: the run's settings.
            console: where progress is shown, by the main rank; None shows none.
            writes: whether anything is to be done in the run's folder; if not, it is only read.
        """
        self.context = RunContext.open(config, console, writes=writes)
        self._entered = ExitStack()

    @property
    def config(self) -> RunConfig:
        """The settings, with the parts that the method sets and the phases that set themselves."""
        return self.context.config

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return self.context.folder

    def __enter__(self) -> Self:
        """Leave no new folder behind if settings or data turn out to be wrong before anything is made."""
        self._entered.enter_context(self.context.torch_state())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Remove the folder if it is new and empty, and the run failed over its settings or data."""
        self._entered.close()
        if kind is not None and issubclass(kind, (ConfigError, DataError, ArtifactError, MissingDependencyError)):
            self.folder.remove_if_unused()

    @as_set
    def prepare(self) -> Manifest:
        """Check the pairs and encode all splits."""
        with self.context.timed("prepare"):
            manifest, _ = self.context.manifest, [tower.splits for tower in self.context.towers]
        return manifest

    @as_set
    def write_encoded(self, asked: EncodedFiles) -> dict[Path, int]:
        """Write text embeddings or features of all splits as files for other runs; return the rows of each file.

        Raises:
            ConfigError: features are asked for, but the image tower is trained.
            DataError: a value is not finite in the asked-for type.
        """
        _ = self.context.splits  # all ranks together, before the main one goes on
        return self.context.world.main_first(lambda: encoded.write(self.context, asked))

    @as_set
    def teach(self) -> list[Path]:
        """Train the experts that are not there yet and return the files of all, tower by tower."""
        return [path for paths in teach.teach_all(self.context) for path in paths]

    @as_set
    def distill(self) -> DistilledSet:
        """Distil what is not distilled yet and return the distilled set.

        Raises:
            ConfigError: the method chooses real pairs, or the segments cannot be shared out evenly among the ranks.
        """
        distilled = distill.distill(self.context)
        self.context = self.context.with_chosen_phases()
        return distilled

    @as_set
    def select(self) -> DistilledSet:
        """Choose real pairs by the method's rule, unless they are chosen already, and return them.

        Raises:
            ConfigError: the method learns pairs instead.
        """
        return distill.select(self.context)

    @as_set
    def evaluate(self) -> list[Row]:
        """Measure every asked-for row that is not measured yet, write the table, and return its rows."""
        return evaluate.evaluate(self.context) if self.leave() else []

    @as_set
    def export(self, asked: Export) -> None:
        """Write the run's pairs in another format, with a dataset card.

        Raises:
            ArtifactError: the run has no distilled set.
            ConfigError: the folder exists already.
            MissingDependencyError: the format needs an optional package.
        """
        export.export(self.context, asked)

    @as_set
    def report(self, out: Path, *, retrieval: bool = True) -> None:
        """Write the run as one HTML page; `retrieval` trains a student for examples of what it finds.

        Raises:
            MissingDependencyError: a package of the extra `report` is not installed.
        """
        need("matplotlib", "a report")
        need("jinja2", "a report")
        # the heavy imports, which other runs do without
        from pairstill.run import report

        report.report(self.context, out, retrieval=retrieval)

    @as_set
    def adopt(self, path: Path) -> DistilledSet:
        """Take a distilled set from elsewhere (a run's, or an export) as the run's own, so that it can be measured.

        Raises:
            ConfigError: it does not fit the settings, or the run has another set already.
        """
        return self.context.world.main_first(lambda: export.adopt(self.context, path))

    def study(self, measure: Callable[[RunContext], _Result]) -> _Result | None:
        """Return what a study of the run's pairs measures, with the run's context; None on the ranks that are let go.

        Raises:
            ArtifactError: the run has no distilled set.
        """
        with self.context.torch_state():
            return measure(self.context) if self.leave() else None

    @as_set
    def run(self) -> list[Row]:
        """Run every stage."""
        context, learns = self.context, self.context.method.rule is None
        distill.check_shards(context)
        taught = () if context.teachers_seed is None else ("teach",)
        phased = () if context.config.auto_phases is None else ("phases",)
        stages = ("prepare", *taught, *phased, "distill" if learns else "select", "evaluate")
        context.emit(StagesPlanned(stages=stages))
        if context.world.from_main(lambda: evaluate.is_finished(context)):
            with context.timed("prepare"):
                _ = context.pairs  # which must be as they were; encoders may be gone, for nothing is left to compute
        else:
            self.prepare()
        if learns:
            self.distill()
        else:
            self.select()
        return self.evaluate()

    def leave(self) -> bool:
        """Part from the other ranks once all are here; return whether this is the main one, which may go on alone."""
        alone = self.context.leave()
        if alone is not None:
            self.context = alone
        return alone is not None
