"""Tables with a row per caption or per image: CSV, JSONL, Parquet."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from pairstill.config import ColumnsConfig, DataConfig
from pairstill.data.sources.raw import (
    RawPair,
    RawPairs,
    annotations_of,
    collect,
    image_root_of,
    parse_listing,
)
from pairstill.errors import DataError, MissingDependencyError, shown


def read(config: DataConfig, cache_dir: Path) -> RawPairs:
    """Read the table; its suffix (.csv, .jsonl or .parquet) names its format.

    A row has an image path, a caption (in JSONL and Parquet also a list of captions) and a split.

    Args:
        config: `annotations` is the table, `columns` its columns, `images` the folder of the image files.
        cache_dir: not used; images stay where they are.

    Raises:
        DataError: the table is missing, damaged, of another format, or lacks a column.
        MissingDependencyError: a Parquet file, and pyarrow is not installed.
    """
    path, columns = annotations_of(config), config.columns
    match path.suffix.lower():
        case ".csv":
            parsed = _read_csv(path, columns)
        case ".jsonl":
            parsed = _read_jsonl(path, columns)
        case ".parquet":
            parsed = _read_parquet(path, columns)
        case suffix:
            raise DataError(f"{path} has suffix {suffix!r}; a table must be .csv, .jsonl or .parquet")
    return collect(image_root_of(config), parsed)


def _listing(row: dict[str, Any], columns: ColumnsConfig, where: str) -> RawPair | str:
    return parse_listing(
        image=row.get(columns.image), captions=row.get(columns.caption), split=row.get(columns.split), where=where
    )


def _require_columns(path: Path, columns: ColumnsConfig, present: Iterable[str]) -> None:
    present = list(present)
    for setting in ("image", "caption", "split"):
        name = getattr(columns, setting)
        if name not in present:
            raise DataError(
                f"{path} has no column {name!r}; it has {', '.join(map(repr, present)) or 'none'}. "
                f"Set data.columns.{setting} to the column that holds the {setting}"
            )


def _read_csv(path: Path, columns: ColumnsConfig) -> list[RawPair | str]:
    try:
        # Excel writes a byte order mark, which would otherwise become part of the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(_parse_csv(path, stream, columns))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8 ({error}); export it again") from error


def _parse_csv(path: Path, stream: TextIO, columns: ColumnsConfig) -> Iterator[RawPair | str]:
    reader = csv.DictReader(stream)
    _require_columns(path, columns, reader.fieldnames or ())
    width = len(reader.fieldnames or ())
    # A quoted caption may run over several lines; a row is named by its first.
    line = reader.line_num + 1
    for row in reader:
        where, line = f"line {line}", reader.line_num + 1
        if None in row or None in row.values():
            # Extra fields stand under the key None, absent ones have the value None.
            extra = row.get(None) or ()
            found = width + len(extra) if extra else sum(value is not None for value in row.values())
            yield f"{where}: the row has {found} fields, the header {width}; quote captions that contain commas"
        else:
            yield _listing(row, columns, where)


def _read_jsonl(path: Path, columns: ColumnsConfig) -> list[RawPair | str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8 ({error}); export it again") from error
    return [_parse_json_line(line, columns, f"line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _parse_json_line(line: str, columns: ColumnsConfig, where: str) -> RawPair | str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"{where}: not valid JSON ({error})"
    if not isinstance(row, dict):
        return f"{where}: {shown(row)} is not an object"
    return _listing(row, columns, where)


def _read_parquet(path: Path, columns: ColumnsConfig) -> list[RawPair | str]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependencyError(
            'reading Parquet needs pyarrow, which is not installed; run `pip install "pairstill[huggingface]"`'
        ) from error
    try:
        with parquet.ParquetFile(path) as table:
            _require_columns(path, columns, table.schema_arrow.names)
            rows = table.read(columns=[columns.image, columns.caption, columns.split]).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({error}); export it again") from error
    return [_listing(row, columns, f"row {number}") for number, row in enumerate(rows)]
