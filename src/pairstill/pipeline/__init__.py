"""The wiring of a run: stages work with parts built from its settings. The only place that knows all the layers."""

from pathlib import Path

from pairstill.data.manifest import Manifest
from pairstill.data.tasks.settings import CocoQa, ZeroShot
from pairstill.distilled import DistilledSet
from pairstill.pipeline import crossing, downstream, encoded, exporting, making, measuring, reporting, sharing, teaching
from pairstill.pipeline.crossing import Crossing
from pairstill.pipeline.encoded import EncodedFiles
from pairstill.pipeline.exporting import Export
from pairstill.pipeline.parts import Parts, as_set
from pairstill.pipeline.sharing import ShareReport
from pairstill.report.downstream import DownstreamRow
from pairstill.report.matrix import Cell
from pairstill.report.tables import Row


class Pipeline(Parts):
    """One run: its stages can be called alone and again; what is done is not done again.

    Under torchrun teachers and stretches are shared out among the processes, the main rank alone writes and measures.
    Evaluation is the last stage, where the other ranks are let go.
    """

    @as_set
    def prepare(self) -> Manifest:
        """Check the pairs and encode all splits."""
        with self.timed("prepare"):
            manifest, _ = self.manifest, self.splits
        return manifest

    @as_set
    def write_encoded(self, asked: EncodedFiles) -> dict[Path, int]:
        """Write text embeddings or features of all splits as files for other runs; return the rows of each file.

        Raises:
            ConfigError: features are asked for, but the image tower is trained.
            DataError: a value is not finite in the asked-for type.
        """
        return self.ranks.main_first(lambda: encoded.write(self, asked))

    @as_set
    def teach(self) -> list[Path]:
        """Train the experts that are not there yet and return the files of all."""
        return teaching.teach(self)

    @as_set
    def distill(self) -> DistilledSet:
        """Distil what is not distilled yet and return the distilled set.

        Raises:
            ConfigError: the method chooses real pairs, or the stretches cannot be shared out evenly among the ranks.
        """
        return making.distill(self)

    @as_set
    def select(self) -> DistilledSet:
        """Choose real pairs by the method's rule, unless they are chosen already, and return them.

        Raises:
            ConfigError: the method learns pairs instead.
        """
        return making.select(self)

    @as_set
    def evaluate(self) -> list[Row]:
        """Measure every asked-for row that is not measured yet, write the table, and return its rows.

        The main rank does this alone: the others leave, and return no rows.
        """
        return measuring.evaluate(self)

    @as_set
    def export(self, asked: Export) -> None:
        """Write the run's pairs in another format, with a dataset card.

        Raises:
            ArtifactError: the run has no distilled set.
            ConfigError: the folder exists already.
            MissingDependencyError: the format needs an optional package.
        """
        exporting.export(self, asked)

    @as_set
    def report(self, out: Path, *, retrieval: bool = True) -> None:
        """Write the run as one HTML page; `retrieval` trains a student for examples of what it finds."""
        reporting.report(self, out, retrieval=retrieval)

    @as_set
    def adopt(self, path: Path) -> DistilledSet:
        """Take a distilled set from elsewhere (a run's, or an export) as the run's own, so that it can be measured.

        Raises:
            ConfigError: it does not fit the settings, or the run has another set already.
        """
        return self.ranks.main_first(lambda: exporting.adopt(self, path))

    @as_set
    def cross(self, asked: Crossing) -> list[Cell]:
        """Measure students with other encoders on the run's pairs, write the tables, and return the asked-for cells.

        The main rank does this alone: the others leave, and return no cells.

        Raises:
            ArtifactError: the run has no distilled set.
            ConfigError: an encoder cannot be had, or its text embeddings have another width and no map was asked for.
        """
        return crossing.cross(self, asked)

    @as_set
    def downstream(self, task: ZeroShot | CocoQa) -> list[DownstreamRow]:
        """Measure the run's students on a task beside retrieval, write its page, and return its rows.

        The main rank does this alone: the others leave, and return no rows.

        Raises:
            ArtifactError: the run has no distilled set.
            DataError: the task's images, classes or questions cannot be had.
        """
        return downstream.measure(self, task)

    @as_set
    def shares(self) -> ShareReport | None:
        """Measure what the run's gain over Random at equal bytes is made of, by the protocol `strict`.

        The main rank does this alone: the others leave, and return None.

        Raises:
            ArtifactError: the run has no distilled set.
        """
        return sharing.shares(self)

    @as_set
    def run(self) -> list[Row]:
        """Run every stage."""
        making.check_shares(self)
        taught = () if self.teachers_seed is None else ("teach",)
        phased = () if self.config.distill.auto_phases is None else ("phases",)
        self.outlook.plan(
            ("prepare", *taught, *phased, "distill" if self.method.rule is None else "select", "evaluate")
        )
        if self.ranks.from_main(lambda: measuring.is_finished(self)):
            with self.timed("prepare"):
                _ = self.pairs  # which must be as they were; encoders may be gone, for nothing is left to compute
        else:
            self.prepare()
        if self.method.rule is None:
            self.distill()
        else:
            self.select()
        return self.evaluate()
