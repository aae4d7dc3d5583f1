"""The tables of the paper as it prints them, and where the settings of each row are; reads YAML, nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from pairstill.config.yaml_files import parse_yaml
from pairstill.core.errors import ConfigError
from pairstill.core.formatting import did_you_mean, nearest

TABLE_KEYS = {"title", "columns", "groups", "scaled", "reference", "unscaled", "command"}
ROW_KEYS = {"title", "paper", "spread", "mean", "settings", "without"}
RECALLS = ("IR@1", "IR@5", "IR@10", "TR@1", "TR@5", "TR@10")


@dataclass(frozen=True, kw_only=True)
class PaperRow:
    """One row of a table.

    Attributes:
        table: the table's name, such as `table4`.
        group: what the table's rows are grouped by: a dataset or a number of pairs.
        name: the row's name in its table.
        title: the row as the paper calls it.
        values: what the paper prints, in the order of the table's columns; recalls in percent.
        spread: what it prints after a plus-minus, for each value, or None.
        printed_mean: the mean that it prints, or None.
        settings: the row's settings file relative to the folder of the paper's settings, or None.
        without: why there are no settings, or None.
    """

    table: str
    group: str
    name: str
    title: str
    values: tuple[float, ...]
    spread: tuple[float, ...] | None
    printed_mean: float | None
    settings: str | None
    without: str | None

    @property
    def mean(self) -> float:
        """The mean as printed, or of the values."""
        return mean(self.values) if self.printed_mean is None else self.printed_mean


@dataclass(frozen=True)
class PaperTable:
    """One table.

    Attributes:
        name: its name, such as `table4`.
        title: what it shows.
        columns: what its values are.
        rows: its rows in order.
        scaled: the groups that run scaled down; none when there is no small version.
        reference: name of the row that the scaled rows are compared with.
        unscaled: why there is no small version, and what there is instead.
        command: what measures the rows, where `pairstill run` on their settings is not all.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    scaled: tuple[str, ...]
    reference: str | None
    unscaled: str | None
    command: str | None

    @property
    def number(self) -> str:
        """The table as the paper calls it, such as Table 4."""
        return f"Table {self.name.removeprefix('table')}"

    @property
    def has_recalls(self) -> bool:
        """Whether the values are the six recalls."""
        return self.columns == RECALLS

    def ways(self) -> list[str]:
        """Return what there is to type for the table, and why not more."""
        reproduce = f"pairstill reproduce {self.name} --scale"
        if self.command is not None:
            large = f"On runs of these settings: {self.command}"
        else:
            large = f"As in the paper, on a large GPU: `{reproduce} paper DATA`"
        if not self.scaled:
            return [large, f"No small version: {self.unscaled}."]
        return [large, f"Small: `{reproduce} scenes`; on photos: `{reproduce} flickr8k DATA WEIGHTS`"]

    def scaled_rows(self) -> list[PaperRow]:
        """Return the rows that run scaled down."""
        return [row for row in self.rows if row.group in self.scaled and row.settings is not None]


def read_tables(folder: Path) -> list[PaperTable]:
    """Return the tables that `tables.yaml` in the folder of the paper's settings tells of.

    Raises:
        ConfigError: the file is missing, has unknown keys, or a row has not as many values as its table has columns.
    """
    path = folder / "tables.yaml"
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; name the folder of a checkout's configs with --configs")
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise ConfigError(f"{path} holds no tables; name the folder of a checkout's configs with --configs")
    return [_table(name, entry) for name, entry in content.items()]


def find_table(tables: list[PaperTable], name: str) -> PaperTable:
    """Return the table with this name.

    Raises:
        ConfigError: there is none.
    """
    for table in tables:
        if table.name == name:
            return table
    names = ["flickr8k", *(table.name for table in tables)]
    raise ConfigError(f"{name!r} cannot be reproduced{did_you_mean(nearest(name, names))} There are {', '.join(names)}")


def _table(name: str, entry: Mapping[str, Any]) -> PaperTable:
    _check_keys(name, entry, TABLE_KEYS)
    columns = tuple(entry.get("columns", RECALLS))
    rows = [
        _row(name, group, row, about, len(columns))
        for group, members in entry["groups"].items()
        for row, about in members.items()
    ]
    return PaperTable(
        name=name,
        title=entry["title"],
        columns=columns,
        rows=tuple(rows),
        scaled=tuple(entry.get("scaled", ())),
        reference=entry.get("reference"),
        unscaled=entry.get("unscaled"),
        command=entry.get("command"),
    )


def _row(table: str, group: str, name: str, about: Mapping[str, Any], columns: int) -> PaperRow:
    _check_keys(f"{table}, {name}", about, ROW_KEYS)
    values, spread, without = tuple(about["paper"]), about.get("spread"), about.get("without")
    if len(values) != columns or (spread is not None and len(spread) != columns):
        raise ConfigError(f"tables.yaml: {table}, {name} has {len(values)} values for {columns} columns")
    return PaperRow(
        table=table,
        group=group,
        name=name,
        title=about["title"],
        values=values,
        spread=None if spread is None else tuple(spread),
        printed_mean=about.get("mean"),
        settings=None if without else f"{table}/{about.get('settings', name)}.yaml",
        without=without,
    )


def _check_keys(where: str, entry: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(map(str, entry.keys() - known))
    if unknown:
        raise ConfigError(f"tables.yaml: {where} has the unknown keys {', '.join(unknown)}")
