"""Every row of the paper's tables: its settings, what it needs, the paper's numbers and ours."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from pairstill.config.yaml_files import read_settings
from pairstill.core.errors import ConfigError
from pairstill.methods.stored import todays
from pairstill.tools.reproduce.paper import PaperRow, PaperTable, find_table, read_tables
from pairstill.tools.reproduce.settings import BENCHMARKS

SCALES = ("paper", "flickr8k", "scenes")


@dataclass(frozen=True)
class Listed:
    """One row of the list.

    Attributes:
        table: its table.
        row: the row as the paper prints it.
        config: its settings file below the folder of settings, or None.
        needs: what must be on disk or on the hub for the paper's own settings.
        scales: the scales at which `pairstill reproduce TABLE --scale` runs it.
        ours: mean recall under `strict` by scale, where it is measured.
    """

    table: PaperTable
    row: PaperRow
    config: str | None
    needs: tuple[str, ...]
    scales: tuple[str, ...]
    ours: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return what `pairstill reproduce --list --json` prints of it."""
        row, table = self.row, self.table
        return {
            "table": table.name,
            "group": row.group,
            "row": row.name,
            "title": row.title,
            "config": self.config,
            "without": row.without,
            "needs": list(self.needs),
            "scales": list(self.scales),
            "unscaled": None if table.scaled else table.unscaled,
            "command": table.command,
            "columns": list(table.columns),
            "paper": list(row.values),
            "paper_spread": None if row.spread is None else list(row.spread),
            "paper_mean": round(row.mean, 2) if table.has_recalls else None,
            "ours": dict(self.ours),
            "ours_protocol": "strict",
        }


def list_rows(configs: Path, results: Sequence[Path], table_name: str | None = None) -> list[Listed]:
    """Return every row of every table, or of one.

    Args:
        configs: the folder of the shipped settings.
        results: folders that may hold reproduced tables, as SCALE/tables/TABLE.jsonl.
        table_name: the table; None lists all.

    Raises:
        ConfigError: the paper has no such table of results.
    """
    tables, listed = read_tables(configs / "paper"), []
    if table_name in BENCHMARKS:
        raise ConfigError(f"{table_name} is no table of the paper; --list takes {tables[0].name} and so on, or no name")
    for table in tables if table_name is None else [find_table(tables, table_name)]:
        ours = {scale: _means(results, scale, table.name) for scale in SCALES}
        for row in table.rows:
            found = {scale: means[row.name] for scale, means in ours.items() if row.name in means}
            config = None if row.settings is None else f"paper/{row.settings}"
            needs = () if config is None else _needs(configs / config)
            listed.append(Listed(table, row, config, needs, _scales(table, row), found))
    return listed


def _scales(table: PaperTable, row: PaperRow) -> tuple[str, ...]:
    if row.settings is None or table.command is not None:
        return ()
    return SCALES if row.group in table.scaled else SCALES[:1]


def _needs(path: Path) -> tuple[str, ...]:
    """Return what the settings read from disk and fetch from the hub."""
    settings = read_settings(path, todays)
    data, image, text = settings["data"], settings["image"], settings["text"]
    root = data["root"]
    return (
        f"{root}/{data['annotations']}",
        f"{root}/{data['images']}".removesuffix("/."),
        f"hub: {image['name']}",
        f"hub: {text['name']}",
    )


def _means(results: Sequence[Path], scale: str, table: str) -> dict[str, float]:
    """Return the mean of each measured row of a table; of several folders, the first that has it counts."""
    for folder in results:
        path = folder / scale / "tables" / f"{table}.jsonl"
        if path.is_file():
            of_row: dict[str, list[float]] = {}
            for result in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
                if result["protocol"] == "strict":
                    of_row.setdefault(result["row"], []).append(result["mean_recall"])
            return {name: round(mean(values), 2) for name, values in of_row.items()}
    return {}
