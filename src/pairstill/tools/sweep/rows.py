"""The rows of a sweep: settings by grid and seed, with places of their own."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pairstill.config import RunConfig
from pairstill.config.yaml_files import to_yaml
from pairstill.core.errors import ConfigError
from pairstill.evaluate.ledger import FILES
from pairstill.storage import digest
from pairstill.teachers.store import describe_teachers
from pairstill.tools.sweep.grid import Axis, Cell, cells_of, read_grid
from pairstill.tools.sweep.queue import Task
from pairstill.tools.sweep.settings import SweepConfig

Load = Callable[[list[str]], RunConfig]
"""Makes a run's settings from command-line options."""
RUNS = "runs"
"""The folder of the rows' runs."""


@dataclass(frozen=True)
class SweepRow:
    """A combination of values with one seed.

    Attributes:
        cell: the combination.
        seed: the seed of the run.
        config: the settings of the run.
    """

    cell: Cell
    seed: int
    config: RunConfig

    @property
    def name(self) -> str:
        """Its name in the queue, and its folder below that of the runs."""
        return f"{self.cell.name}/seed{self.seed}"

    @property
    def task(self) -> Task:
        """The row as the queue has it."""
        return task_of(self.name, self.config)


@dataclass(frozen=True)
class Rows:
    """All rows of a sweep.

    Attributes:
        axes: of the grid.
        rows: seed by seed, so that a table with every combination is there early.
    """

    axes: tuple[Axis, ...]
    rows: tuple[SweepRow, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The combinations of values, in order."""
        return tuple(dict.fromkeys(row.cell for row in self.rows))


def task_of(name: str, config: RunConfig, command: str = "run") -> Task:
    """Return a run as a row of a queue.

    Args:
        name: the row's.
        config: the settings of the run.
        command: of pairstill.
    """
    makes = Path(config.run_dir) / FILES["retrieval"]
    return Task(name, command, to_yaml(config), makes, config.threads, teachers_key(config))


def teachers_key(config: RunConfig) -> str:
    """Return a digest of the settings that decide a run's teachers; data and encoders count by their settings."""
    data, image, text = (json.dumps(asdict(part)) for part in (config.data, config.image, config.text))
    described = describe_teachers(config, data, {"settings": image}, {"settings": text})
    if config.towers:
        described["towers"] = [asdict(tower) for tower in config.towers]
    return digest(json.dumps(described, sort_keys=True))


def rows_of(settings: SweepConfig, load: Load) -> Rows:
    """Return the rows of a sweep.

    Args:
        settings: of the sweep.
        load: makes a run's settings from command-line options.

    Raises:
        ConfigError: the grid or the settings of a row cannot work, or rows would put other teachers in one folder.
    """
    axes = read_grid(settings.grid)
    unnamed = Path(settings.settings[-1]).stem if settings.settings else "row"
    configs = {cell: load([*settings.options, *cell.options]) for cell in cells_of(axes, unnamed)}
    out = Path(settings.out).expanduser() / RUNS
    rows = [
        SweepRow(cell, seed, replace(config, seed=seed, run_dir=str(out / cell.name / f"seed{seed}")))
        for number in range(settings.seeds)
        for cell, config in configs.items()
        for seed in (config.seed + number,)
    ]
    _check_teachers(rows)
    return Rows(axes, tuple(rows))


def _check_teachers(rows: Sequence[SweepRow]) -> None:
    """Refuse rows whose settings name one folder for teachers that are not the same."""
    known: dict[str, tuple[str, SweepRow]] = {}
    for row in rows:
        folder = row.config.trajectories_dir
        if folder is None:
            continue
        key = teachers_key(row.config)
        first_key, first = known.setdefault(folder, (key, row))
        if key != first_key:
            raise ConfigError(
                f"the settings name trajectories_dir {folder!r}, but {first.name} and {row.name} have other "
                "teachers; give --trajectories_dir null, and teachers are shared by their content below cache_dir"
            )
