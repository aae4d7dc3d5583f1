"""Tables with a row per caption or per image: CSV, TSV and their like, JSONL, Parquet."""

import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pairstill.config import ColumnsConfig, DataConfig
from pairstill.core.errors import DataError, shown
from pairstill.data.sources.cells import caption_columns, numbered, together
from pairstill.data.sources.csv_records import SEPARATORS, CsvRecord, bounded, csv_lines, csv_records
from pairstill.data.sources.raw import (
    Lazily,
    RawPair,
    RawPairs,
    annotations_of,
    image_root_of,
    parse_data_json,
    parse_listing,
)
from pairstill.data.sources.recognition import hint
from pairstill.storage.columns import BATCH_ROWS

TEXT_TABLES = (".csv", ".tsv", ".txt", ".psv", ".token")
_NUMBERED = re.compile(r"([^\t]+)#\d+\t(.*)", re.DOTALL)
"""A line of Flickr's own files of captions: IMAGE#NUMBER, a tab, and a caption, without a header."""


@dataclass(frozen=True)
class _Columns:
    """Which columns are read.

    Attributes:
        image: that of the image.
        captions: those of captions.
        split: that of the split; None if every row is of `train`.
    """

    image: str
    captions: Sequence[str]
    split: str | None

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [name for name in (self.image, *self.captions, self.split) if name is not None]

    def listing(self, row: Mapping[str, Any], where: str) -> RawPair | str:
        """Return what a row says, or what is wrong with it."""
        split = "train" if self.split is None else row.get(self.split)
        captions = together([row.get(name) for name in self.captions])
        return parse_listing(image=row.get(self.image), captions=captions, split=split, where=where)


def read(config: DataConfig, cache_dir: Path) -> RawPairs:
    """Read the table; its suffix names its format.

    A row has an image path, a caption or several, in a list or in several columns, and a split. Text may have commas,
    tabs, semicolons or bars between its columns, whichever give the columns that are asked for.

    Args:
        config: `annotations` is the table, `columns` its columns, `images` the folder of the image files.
        cache_dir: not used; images stay where they are.

    Raises:
        DataError: the table is missing, damaged, of another format, or lacks a column.
    """
    path = annotations_of(config)
    match path.suffix.lower():
        case suffix if suffix in TEXT_TABLES:
            parsed = _read_text(path, config)
        case ".jsonl" | ".ndjson":
            parsed = partial(_json_rows, path, config)
        case ".parquet":
            parsed = _read_parquet(path, config)
        case suffix:
            known = ", ".join((*TEXT_TABLES, ".jsonl"))
            raise DataError(
                f"{path} has suffix {suffix!r}; a table must be {known} or .parquet{hint(path, config.source)}"
            )
    return RawPairs(image_root_of(config), Lazily(parsed))


def _split_column(config: DataConfig, present: Iterable[str]) -> str | None:
    """Return the column that names splits, or None where splits are drawn and there is none."""
    column, absent = config.columns.split, config.columns.split not in list(present)
    return None if config.split is not None and absent else column


def _chosen(columns: ColumnsConfig, split: str | None, present: Iterable[str]) -> _Columns:
    return _Columns(columns.image, caption_columns(columns.caption, present), split)


def _required(path: Path, config: DataConfig, present: Sequence[str], read_with: str = "") -> _Columns:
    """Return the columns to read, all of which are there once."""
    columns = _chosen(config.columns, _split_column(config, present), present)
    has = f"it has {', '.join(map(repr, present)) or 'none'}{read_with}"
    for setting, name in (("image", columns.image), ("caption", config.columns.caption), ("split", columns.split)):
        absent = not columns.captions if setting == "caption" else name is not None and name not in present
        if absent:
            more = numbered(config.columns.caption, present) if setting == "caption" else ""
            drawn = ", or have splits drawn, such as data.split 'random 8:1:1'" if setting == "split" else ""
            raise DataError(
                f"{path} has no column {name!r}; {has}. Set data.columns.{setting} to the column that holds the "
                f"{setting}{drawn}.{more}"
            )
    for name in columns.names:
        if present.count(name) > 1:
            raise DataError(f"{path} has {present.count(name)} columns {name!r}; rename those that are not meant")
    return columns


_Rows = Callable[[], Iterator[RawPair | str]]


def _read_text(path: Path, config: DataConfig) -> _Rows:
    with csv_lines(path) as lines:
        first = next(lines, "")
    if _NUMBERED.fullmatch(first) and path.suffix.lower() in (".txt", ".token"):
        return partial(_numbered_rows, path)
    separator, header = _header(path, first, config)
    names = [name.strip() for name in header.fields]
    read_with = f", read with {SEPARATORS[separator]} between them"
    columns = _required(path, config, names, read_with if names else "")
    return partial(_text_rows, path, separator, header, columns)


def _text_rows(path: Path, separator: str, header: CsvRecord, columns: _Columns) -> Iterator[RawPair | str]:
    names = [name.strip() for name in header.fields]
    # where the names have blanks around them ("image| comment"), so have the cells
    clean = str.strip if names != header.fields else str
    with csv_lines(path) as lines:
        records = csv_records(lines, separator)
        next(records, None)
        for record in records:
            if isinstance(record, str):
                yield record
            else:
                row = dict(zip(names, map(clean, record.fields), strict=True))
                yield columns.listing(row, f"line {record.line}")


def _header(path: Path, line: str, config: DataConfig) -> tuple[str, CsvRecord]:
    """Return what stands between columns, and the header: with it the columns that are asked for are there.

    Where no separator gives them, it is the one that gives the most columns.
    """
    headers = {separator: _first_record(path, separator) for separator in SEPARATORS}
    whole = {separator: header for separator, header in headers.items() if isinstance(header, CsvRecord)}

    def fits(header: CsvRecord) -> bool:
        names = [name.strip() for name in header.fields]
        columns = _chosen(config.columns, _split_column(config, names), names)
        return bool(columns.captions) and set(columns.names) <= set(names)

    wrong = [found for separator, found in headers.items() if isinstance(found, str) and separator in line]
    if not any(map(fits, whole.values())) and (wrong or not whole):
        raise DataError(f"{path} is not a table of text in UTF-8 ({(wrong or list(headers.values()))[0]})")
    best = max(whole, key=lambda separator: (fits(whole[separator]), len(whole[separator].fields)))
    return best, whole[best]


def _first_record(path: Path, separator: str) -> CsvRecord | str:
    with csv_lines(path) as lines:
        return next(csv_records(lines, separator), CsvRecord(1, []))


def _numbered_rows(path: Path) -> Iterator[RawPair | str]:
    """Yield the listings of a file of `IMAGE#NUMBER`, a tab and a caption in each line, all of `train`."""
    with csv_lines(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _numbered_listing(line, f"line {number}")


def _numbered_listing(line: str, where: str) -> RawPair | str:
    match = _NUMBERED.fullmatch(line.rstrip("\r\n"))
    if match is None:
        return f"{where}: it is not IMAGE#NUMBER, a tab and a caption, as the first line is"
    if any("\udc80" <= character <= "\udcff" for character in line):
        return f"{where}: not text in UTF-8; export the table again"
    return parse_listing(image=match[1], captions=match[2], split="train", where=where)


def _json_rows(path: Path, config: DataConfig) -> Iterator[RawPair | str]:
    with path.open("rb") as stream:
        for number, line in enumerate(bounded(path, stream.readline), 1):
            text = line.removeprefix(BOM_UTF8) if number == 1 else line
            if text.strip():
                yield _parse_json_line(text.rstrip(b"\n"), config, f"line {number}")


def _parse_json_line(line: bytes, config: DataConfig, where: str) -> RawPair | str:
    try:
        row = parse_data_json(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"{where}: not text in UTF-8 ({error}); export the table again"
    except (ValueError, RecursionError) as error:
        return f"{where}: not valid JSON ({error})"
    if not isinstance(row, dict):
        return f"{where}: {shown(row)} is not an object"
    columns = _chosen(config.columns, _split_column(config, row), row)
    return _Columns(columns.image, columns.captions or [config.columns.caption], columns.split).listing(row, where)


def _read_parquet(path: Path, config: DataConfig) -> _Rows:
    import pyarrow

    with _parquet(path) as table:
        columns = _required(path, config, table.schema_arrow.names)
        kind = table.schema_arrow.field(columns.image).type
        if pyarrow.types.is_struct(kind) or pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
            raise DataError(
                f"column {columns.image!r} of {path} holds the pictures themselves, not their paths; read its "
                f"folder with --data.source huggingface --data.root {path.parent} --data.splits.train train"
            )
    return partial(_parquet_rows, path, columns)


def _parquet_rows(path: Path, columns: _Columns) -> Iterator[RawPair | str]:
    number = 0
    with _parquet(path) as table:
        for batch in table.iter_batches(BATCH_ROWS, columns=columns.names):
            for row in range(batch.num_rows):
                yield _parquet_row(batch, row, columns, number)
                number += 1


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """Give a file of Parquet."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            yield table
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({error}); export it again") from error


def _parquet_row(batch: Any, row: int, columns: _Columns, number: int) -> RawPair | str:
    try:
        return columns.listing({name: batch.column(name)[row].as_py() for name in columns.names}, f"row {number}")
    except (ValueError, OverflowError) as error:  # not text in UTF-8, or a time that Python does not know
        return f"row {number}: cannot be read ({error})"
