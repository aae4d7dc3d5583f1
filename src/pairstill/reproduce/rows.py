"""Every row of a benchmark: a method under the settings of a shipped config, with teachers that rows share."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pairstill.config import RunConfig
from pairstill.errors import ConfigError
from pairstill.methods import METHODS
from pairstill.pipeline import Pipeline
from pairstill.report.tables import markdown, summarise
from pairstill.reproduce.settings import Reproduction
from pairstill.storage import write_text_atomic

REFERENCES = "references"
FROZEN = ("frozen_100", "frozen_200", "frozen_500")
TRAINED = "trainable_100"
TRAINED_METHODS = ("mtt_vl", "lors", "ptm_st")


@dataclass(frozen=True)
class BenchmarkRow:
    """One row: a config and a method.

    Attributes:
        config: the config's name.
        method: the method, or `references` for Random and full data.
    """

    config: str
    method: str

    @property
    def name(self) -> str:
        """The row as people type it."""
        return f"{self.config}/{self.method}"


def benchmark_rows() -> list[BenchmarkRow]:
    """Return the rows in order; Random is among the references, drawn anew for every student."""
    methods = [REFERENCES, *(method.name for method in METHODS if method.name != "random")]
    rows = [BenchmarkRow(config, method) for config in FROZEN for method in methods]
    return rows + [BenchmarkRow(TRAINED, method) for method in (REFERENCES, *TRAINED_METHODS)]


def chosen_rows(only: tuple[str, ...] | None) -> list[BenchmarkRow]:
    """Return the rows that were asked for.

    Raises:
        ConfigError: a row does not exist.
    """
    rows = {row.name: row for row in benchmark_rows()}
    if only is None:
        return list(rows.values())
    for name in only:
        if name not in rows:
            raise ConfigError(f"only names {name!r}; the rows are {', '.join(rows)}")
    return [rows[name] for name in only]


def reproduce(settings: Reproduction, load: Callable[[list[str]], RunConfig], console: Console) -> str:
    """Measure the rows that are not measured yet and return the tables of all rows so far, as Markdown.

    Args:
        settings: what to measure.
        load: makes a run's settings from command-line options.
        console: where progress is shown.
    """
    out = Path(settings.out).expanduser() / settings.benchmark
    rows = chosen_rows(settings.only)
    for seed in range(settings.seeds):
        for number, row in enumerate(rows, start=1):
            console.print(f"Row {number} of {len(rows)}: {row.name}, seed {seed}")
            config = load(_options(settings, row, seed, out))
            pipeline = Pipeline(config, console)
            if row.method == REFERENCES:
                pipeline.prepare()
                pipeline.evaluate()
            else:
                pipeline.run()
            _write_tables(out)
    return _write_tables(out)


def _options(settings: Reproduction, row: BenchmarkRow, seed: int, out: Path) -> list[str]:
    """Return the command line of `pairstill run` that measures a row."""
    here = Path(settings.configs) if settings.configs else Path(__file__).parents[3] / "configs"
    config = here / settings.benchmark / f"{row.config}.yaml"
    if not config.is_file():
        raise ConfigError(f"{config} does not exist; name the folder of a checkout's configs with --configs")
    tower = row.config.partition("_")[0]
    options = {
        "config": config,
        "run_dir": out / row.config / row.method / f"seed{seed}",
        "trajectories_dir": out / "teachers" / f"{tower}_seed{seed}",
        "seed": seed,
        "device": settings.device,
        "cache_dir": settings.cache_dir,
        "data.root": settings.data_root,
        "image.weights": settings.image_weights,
    }
    if settings.threads is not None:
        options["threads"] = settings.threads
    if row.method == REFERENCES:
        options["evaluate.methods"] = "[random, full]"
    else:
        options |= {"method": row.method, "evaluate.methods": "[distilled]"}
    return [f"--{name}={value}" for name, value in options.items()]


def _write_tables(out: Path) -> str:
    """Collect the results of all rows below `out` into results.jsonl and results.md, and return the latter."""
    results: list[dict[str, Any]] = []
    page: list[str] = []
    order = [row.name for row in benchmark_rows()]
    for config in (*FROZEN, TRAINED):
        found: list[dict[str, Any]] = []
        for name in (name for name in order if name.startswith(f"{config}/")):
            for path in sorted((out / name).glob("seed*/results.jsonl")):
                found += [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if found:
            page.append(f"## {config}\n\n{markdown(summarise(found))}")
            results += [{"row": config, **result} for result in found]
    write_text_atomic(out / "results.jsonl", "".join(json.dumps(result) + "\n" for result in results))
    write_text_atomic(out / "results.md", "\n".join(page))
    return "\n".join(page)
