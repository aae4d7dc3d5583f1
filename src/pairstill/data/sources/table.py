"""Tables with a row per caption or per image: CSV, JSONL, Parquet."""

from codecs import BOM_UTF8
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pairstill.config import ColumnsConfig, DataConfig
from pairstill.core.errors import DataError, shown
from pairstill.core.extras import need
from pairstill.data.sources.csv_records import CsvRecord, csv_records
from pairstill.data.sources.raw import (
    RawPair,
    RawPairs,
    annotations_of,
    collect,
    image_root_of,
    parse_data_json,
    parse_listing,
)


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
        if present.count(name) > 1:
            raise DataError(f"{path} has {present.count(name)} columns {name!r}; rename those that are not meant")


def _read_csv(path: Path, columns: ColumnsConfig) -> list[RawPair | str]:
    with csv_records(path) as records:
        header = next(records, CsvRecord(1, []))
        if isinstance(header, str):
            raise DataError(f"{path} is not a CSV file in UTF-8 ({header}); export it again")
        _require_columns(path, columns, header.fields)
        return [
            record
            if isinstance(record, str)
            else _listing(dict(zip(header.fields, record.fields, strict=True)), columns, f"line {record.line}")
            for record in records
        ]


def _read_jsonl(path: Path, columns: ColumnsConfig) -> list[RawPair | str]:
    lines = path.read_bytes().removeprefix(BOM_UTF8).split(b"\n")
    return [_parse_json_line(line, columns, f"line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _parse_json_line(line: bytes, columns: ColumnsConfig, where: str) -> RawPair | str:
    try:
        row = parse_data_json(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"{where}: not text in UTF-8 ({error}); export the table again"
    except (ValueError, RecursionError) as error:
        return f"{where}: not valid JSON ({error})"
    if not isinstance(row, dict):
        return f"{where}: {shown(row)} is not an object"
    return _listing(row, columns, where)


def _read_parquet(path: Path, columns: ColumnsConfig) -> list[RawPair | str]:
    need("pyarrow", "reading Parquet")
    import pyarrow
    from pyarrow import parquet

    found: list[RawPair | str] = []
    try:
        with parquet.ParquetFile(path) as table:
            _require_columns(path, columns, table.schema_arrow.names)
            for batch in table.iter_batches(columns=[columns.image, columns.caption, columns.split]):
                found += [_parquet_row(batch, row, columns, len(found) + row) for row in range(batch.num_rows)]
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({error}); export it again") from error
    return found


def _parquet_row(batch: Any, row: int, columns: ColumnsConfig, number: int) -> RawPair | str:
    names = {columns.image, columns.caption, columns.split}
    try:
        return _listing({name: batch.column(name)[row].as_py() for name in names}, columns, f"row {number}")
    except (ValueError, OverflowError) as error:  # not text in UTF-8, or a time that Python does not know
        return f"row {number}: cannot be read ({error})"
