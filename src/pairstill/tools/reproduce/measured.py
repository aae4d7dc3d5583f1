"""What counts as measured: results of rows as their settings are now, all on the same test data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairstill.config import DataConfig, RunConfig
from pairstill.core.errors import ConfigError
from pairstill.distilled import stored_pairs
from pairstill.evaluate.ledger import FILES, Kind, Ledger
from pairstill.evaluate.measurement import current
from pairstill.methods import with_method
from pairstill.run.folder import other_settings
from pairstill.tools.reproduce.rows import Load, Row, placed
from pairstill.tools.reproduce.settings import Reproduction


@dataclass(frozen=True)
class Measured:
    """The results of rows, and which folders of theirs do not count.

    Attributes:
        results: by row name, over all seeds, one mapping for each student and protocol; rows without any are left out.
        left_out: a sentence for each folder that was left out, with the reason.
    """

    results: dict[str, list[dict[str, Any]]]
    left_out: tuple[str, ...] = ()


def results_of(rows: Sequence[Row], settings: Reproduction, out: Path, load: Load) -> Measured:
    """Return the results of rows whose runs have the settings that the rows have now.

    Settings that may differ between a run and its continuation may differ here too; of several measurements in a
    folder those count that were made as the row's settings say now.

    Args:
        rows: the rows.
        settings: what depends on the machine.
        out: folder that holds their runs.
        load: makes a run's settings from command-line options.

    Raises:
        ConfigError: rows with the same data were measured on other test images or captions.
        ArtifactError: a run's settings or results cannot be read.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    left_out: list[str] = []
    tested: dict[DataConfig, tuple[str, Path]] = {}
    for row in rows:
        for run in measured_runs(row, "retrieval", settings, out, load, left_out):
            results = current(run.config, run.facts, run.pairs)
            _check_test_data(results, tested, run.config.data, run.folder)
            found.setdefault(row.name, []).extend(results)
    return Measured(found, tuple(left_out))


@dataclass(frozen=True)
class MeasuredRun:
    """A run of a row that was measured, with the settings that the row has now.

    Attributes:
        folder: the run's.
        config: its settings.
        facts: of each measurement.
        pairs: the digest of its pairs, if it has any.
    """

    folder: Path
    config: RunConfig
    facts: list[dict[str, Any]]
    pairs: str | None


def measured_runs(
    row: Row, kind: Kind, settings: Reproduction, out: Path, load: Load, left_out: list[str]
) -> Iterator[MeasuredRun]:
    """Yield the runs of a row in which measurements of a kind lie, seed by seed.

    Args:
        row: the row.
        kind: of the measurements.
        settings: what depends on the machine.
        out: folder that holds the runs.
        load: makes a run's settings from command-line options.
        left_out: gets a sentence for each run that has other settings.
    """
    paths = sorted((out / row.folder).glob(f"seed*/{FILES[kind]}"))
    if not paths:
        return  # nor need its settings be there
    loaded = row.load(load)
    for path in paths:
        name, folder = path.parent.name.removeprefix("seed"), path.parent
        if not name.isdecimal():  # a copy that somebody set aside
            continue
        config = with_method(placed(loaded, row, int(name), settings, out))
        if differing := other_settings(folder / "config.yaml", config):
            left_out.append(f"{row.name}, seed {int(name)}: {folder} has other settings, {'; '.join(differing)}")
            continue
        facts = [record.facts for record in Ledger(kind, folder).records()]
        yield MeasuredRun(folder, config, facts, stored_pairs(folder / "distilled"))


def _check_test_data(
    results: Sequence[dict[str, Any]], tested: dict[DataConfig, tuple[str, Path]], data: DataConfig, folder: Path
) -> None:
    """Compare the fingerprints of the test split with the first of the same data; results of old lack them."""
    for fingerprint in (str(result["test_data"]) for result in results if "test_data" in result):
        known, first = tested.setdefault(data, (fingerprint, folder))
        if fingerprint != known:
            raise ConfigError(
                f"{folder} was measured on other test data (fingerprint {fingerprint[:16]}) than {first} "
                f"({known[:16]}): their recalls cannot stand in one table; delete the one whose data are not those "
                "that you want, and measure it again"
            )
