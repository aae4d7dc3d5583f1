"""What can be reproduced, as rows: settings from a file, and what changes in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pairstill.config import RunConfig
from pairstill.core.errors import ConfigError
from pairstill.methods import METHODS, find_method, with_method
from pairstill.methods.base import Benchmark
from pairstill.studies.cross_encoder.study import Crossing
from pairstill.tools.reproduce.paper import PaperRow, PaperTable
from pairstill.tools.reproduce.scales import scaled
from pairstill.tools.reproduce.settings import Reproduction, Scale

Load = Callable[[list[str]], RunConfig]
"""Makes a run's settings from command-line options."""

REFERENCES = "references"
TEACHERS = "teachers"
"""The folder of the teachers that rows share."""
BENCHMARKS: dict[Benchmark, tuple[str, ...]] = {
    "frozen": ("frozen_100", "frozen_200", "frozen_500"),
    "short": ("short_200", "short_500"),
    "long": ("long_100", "long_200", "long_500"),
    "residual": ("residual_100",),
    "trainable": ("trainable_100", "trainable_200", "trainable_500"),
}
"""Settings of Flickr8k; every method says itself on which it is measured."""
TEACHERS_OF: dict[Benchmark, str] = {"short": "frozen", "long": "frozen"}
"""Those whose teachers are another benchmark's: they differ in phases alone."""
SEEDS = {"long": 3, "trainable_100": 2}
"""Distillation seeds of rows, by benchmark or settings, where they are more than one."""
SIMILARITIES_ARE_WORTH = 1
"""Pairs that rows without similarities have beyond those of the settings, so that rows of one size hold equal bytes."""


@dataclass(frozen=True)
class Row:
    """One row that can be measured.

    Attributes:
        name: the row as people type it.
        folder: where its runs go, below the folder of its scale.
        settings: its settings file.
        change: what makes the row out of the file's settings.
        teachers: name of the teachers that it shares with other rows; None finds them by their content in the cache.
        makes_pairs: whether the run makes pairs; otherwise it only measures references.
        students: the encoders of the students that are measured on its pairs, where those are not the run's own alone.
        seeds: how many distillation seeds it is measured with, each with teachers of its own, unless settings say.
    """

    name: str
    folder: str
    settings: Path
    change: Callable[[RunConfig], RunConfig]
    teachers: str | None
    makes_pairs: bool = True
    students: Crossing | None = None
    seeds: int = 1

    def load(self, load: Load) -> RunConfig:
        """Return the row's settings.

        Raises:
            ConfigError: its file does not exist.
        """
        return self.change(load_file(self.settings, load))


def load_file(path: Path, load: Load) -> RunConfig:
    """Return the settings of a shipped file.

    Raises:
        ConfigError: it does not exist.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; name the folder of a checkout's configs with --configs")
    return load([f"--config={path}"])


def methods_rows(configs: Path) -> list[Row]:
    """Return every method on Flickr8k, in order."""
    return [
        _methods_row(configs / "flickr8k" / f"{config}.yaml", method, benchmark)
        for benchmark, files in BENCHMARKS.items()
        for config in files
        for method in _measured_on(benchmark)
    ]


def _measured_on(benchmark: Benchmark) -> list[str]:
    references = [] if benchmark == "short" else [REFERENCES]  # whose shares are of the frozen ones
    return [*references, *(method.name for method in METHODS if benchmark in method.benchmarks)]


def _methods_row(settings: Path, method: str, benchmark: Benchmark) -> Row:
    def change(config: RunConfig) -> RunConfig:
        if method == REFERENCES:
            return replace(config, evaluate=replace(config.evaluate, methods=("random", "full")))
        measured = ("distilled", "closed_form") if find_method(method).student == "closed_form" else ("distilled",)
        return _as_measured(replace(config, method=method, evaluate=replace(config.evaluate, methods=measured)))

    name = f"{settings.stem}/{method}"
    teachers = TEACHERS_OF.get(benchmark, benchmark)
    seeds = SEEDS.get(settings.stem, SEEDS.get(benchmark, 1))
    return Row(name, name, settings, change, teachers, makes_pairs=method != REFERENCES, seeds=seeds)


def _as_measured(config: RunConfig) -> RunConfig:
    """Return the settings, without similarities with the pairs that those are worth, and at the method's own length."""
    config = with_method(config)
    if config.distill.loss == "wbce":
        return config
    distill = config.distill.with_pairs(config.distill.num_pairs + SIMILARITIES_ARE_WORTH)
    return replace(config, distill=distill.at_length())


def base_of(scale: Scale, configs: Path, load: Load) -> RunConfig | None:
    """Return what rows at a scale are made from, or None where they are taken as they are."""
    return None if scale == "paper" else load_file(configs / scale / "tables.yaml", load)


def table_rows(
    tables: list[PaperTable], table: PaperTable, base: RunConfig | None, configs: Path, load: Load
) -> list[Row]:
    """Return the rows of a table; scaled down, those whose settings are the same share a folder, over all tables.

    Args:
        tables: all tables.
        table: the one that is asked for.
        base: what to scale its rows down to; None takes them as they are.
        configs: the folder of the shipped settings.
        load: makes a run's settings from command-line options.

    Raises:
        ConfigError: the table has no small version, or other commands measure it.
    """
    if table.command is not None:
        raise ConfigError(f"{table.name} is measured by another command: {table.command}")
    if base is None:
        return [_paper_row(row, configs, load) for row in table.rows if row.settings is not None]
    if not table.scaled:
        raise ConfigError(f"{table.name} cannot be scaled down: {table.unscaled}")
    known: dict[RunConfig, str] = {}
    rows = []
    for each in tables:
        for row in each.scaled_rows():
            settings = configs / "paper" / str(row.settings)
            config = scaled(load_file(settings, load), base)
            folder = known.setdefault(config, f"tables/{row.table}/{row.name}")
            if each.name == table.name:
                rows.append(Row(row.name, folder, settings, partial(scaled, base=base), _teachers(base)))
    return rows


def _paper_row(row: PaperRow, configs: Path, load: Load) -> Row:
    settings = configs / "paper" / str(row.settings)
    config = load_file(settings, load)
    folder = f"tables/{Path(config.run_dir).relative_to('runs/paper')}"
    return Row(row.name, folder, settings, lambda config: config, _teachers(config))


def _teachers(config: RunConfig) -> str:
    """Return the name of the teachers that the shipped settings share."""
    if config.trajectories_dir is None:
        raise ConfigError("the settings of tables must name trajectories_dir, so that rows share their teachers")
    return Path(config.trajectories_dir).name


def chosen(rows: list[Row], only: tuple[str, ...] | None) -> list[Row]:
    """Return the rows that were asked for, each by its name, or all of a settings file by that file's, in that order.

    Raises:
        ConfigError: a row does not exist.
    """
    by_name: dict[str, list[Row]] = {row.name: [row] for row in rows}
    if only is None:
        return rows
    for row in rows:
        if row.name.startswith(f"{row.settings.stem}/"):
            by_name.setdefault(row.settings.stem, []).append(row)
    for name in only:
        if name not in by_name:
            raise ConfigError(f"only names {name!r}; the rows are {', '.join(row.name for row in rows)}")
    return list({row.name: row for name in only for row in by_name[name]}.values())


def in_order(rows: Sequence[Row], seeds: int | None) -> list[tuple[Row, int]]:
    """Return rows with their distillation seeds: every row with its first seed before any with its second.

    Args:
        rows: the rows.
        seeds: how many seeds each has; None takes the row's own number.
    """
    of = {row.name: row.seeds if seeds is None else seeds for row in rows}
    return [(row, seed) for seed in range(max(of.values(), default=0)) for row in rows if seed < of[row.name]]


def placed(config: RunConfig, row: Row, seed: int, settings: Reproduction, out: Path) -> RunConfig:
    """Return a row's settings with everything that depends on the machine and the seed."""
    data, image, weights = config.data, config.image, settings.tower_weights
    if settings.data_root is not None:
        root = settings.data_root
        if settings.place == "paper":  # one folder holds all datasets
            root = str(Path(root) / Path(data.root or "").name)
        data = replace(data, root=root)
    if settings.image_weights is not None:
        image = replace(image, weights=weights.get(image.name, settings.image_weights))
    return replace(
        config,
        run_dir=str(out / row.folder / f"seed{seed}"),
        trajectories_dir=None if row.teachers is None else str(out / TEACHERS / f"{row.teachers}_seed{seed}"),
        seed=seed,
        device=settings.device,
        threads=settings.threads,
        cache_dir=settings.cache_dir,
        data=data,
        image=image,
        towers=tuple(replace(tower, weights=weights.get(tower.name, tower.weights)) for tower in config.towers),
    )
