"""Tables with a row per caption or per image: CSV, TSV and their like, JSONL, Parquet."""

import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairstill.config import ColumnsConfig, DataConfig
from pairstill.core.errors import DataError, shown
from pairstill.core.extras import need
from pairstill.data.sources.cells import caption_columns, numbered, together
from pairstill.data.sources.csv_records import SEPARATORS, CsvRecord, csv_lines, csv_records
from pairstill.data.sources.raw import (
    RawPair,
    RawPairs,
    annotations_of,
    collect,
    image_root_of,
    parse_data_json,
    parse_listing,
)
from pairstill.data.sources.recognition import hint

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
        MissingDependencyError: a Parquet file, and pyarrow is not installed.
    """
    path = annotations_of(config)
    match path.suffix.lower():
        case suffix if suffix in TEXT_TABLES:
            parsed = _read_text(path, config)
        case ".jsonl" | ".ndjson":
            parsed = _read_jsonl(path, config)
        case ".parquet":
            parsed = _read_parquet(path, config)
        case suffix:
            known = ", ".join((*TEXT_TABLES, ".jsonl"))
            raise DataError(
                f"{path} has suffix {suffix!r}; a table must be {known} or .parquet{hint(path, config.source)}"
            )
    return collect(image_root_of(config), parsed)


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


def _read_text(path: Path, config: DataConfig) -> list[RawPair | str]:
    with csv_lines(path) as lines:
        if lines and _NUMBERED.fullmatch(lines[0]) and path.suffix.lower() in (".txt", ".token"):
            return list(_numbered_lines(lines))
        separator, header = _header(path, lines, config)
        names = [name.strip() for name in header.fields]
        read_with = f", read with {SEPARATORS[separator]} between them"
        columns = _required(path, config, names, read_with if names else "")
        # where the names have blanks around them ("image| comment"), so have the cells
        clean = str.strip if names != header.fields else str
        records = csv_records(lines, separator)
        next(records)
        return [
            record
            if isinstance(record, str)
            else columns.listing(dict(zip(names, map(clean, record.fields), strict=True)), f"line {record.line}")
            for record in records
        ]


def _header(path: Path, lines: Sequence[str], config: DataConfig) -> tuple[str, CsvRecord]:
    """Return what stands between columns, and the header: with it the columns that are asked for are there.

    Where no separator gives them, it is the one that gives the most columns.
    """
    headers = {separator: next(csv_records(lines, separator), CsvRecord(1, [])) for separator in SEPARATORS}
    whole = {separator: header for separator, header in headers.items() if isinstance(header, CsvRecord)}

    def fits(header: CsvRecord) -> bool:
        names = [name.strip() for name in header.fields]
        columns = _chosen(config.columns, _split_column(config, names), names)
        return bool(columns.captions) and set(columns.names) <= set(names)

    wrong = [found for separator, found in headers.items() if isinstance(found, str) and separator in lines[0]]
    if not any(map(fits, whole.values())) and (wrong or not whole):
        raise DataError(f"{path} is not a table of text in UTF-8 ({(wrong or list(headers.values()))[0]})")
    best = max(whole, key=lambda separator: (fits(whole[separator]), len(whole[separator].fields)))
    return best, whole[best]


def _numbered_lines(lines: Sequence[str]) -> Iterator[RawPair | str]:
    """Yield the listings of a file of `IMAGE#NUMBER`, a tab and a caption in each line, all of `train`."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where, match = f"line {number}", _NUMBERED.fullmatch(line.rstrip("\r\n"))
        if match is None:
            yield f"{where}: it is not IMAGE#NUMBER, a tab and a caption, as the first line is"
        elif any("\udc80" <= character <= "\udcff" for character in line):
            yield f"{where}: not text in UTF-8; export the table again"
        else:
            yield parse_listing(image=match[1], captions=match[2], split="train", where=where)


def _read_jsonl(path: Path, config: DataConfig) -> list[RawPair | str]:
    lines = path.read_bytes().removeprefix(BOM_UTF8).split(b"\n")
    return [_parse_json_line(line, config, f"line {number}") for number, line in enumerate(lines, 1) if line.strip()]


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


def _read_parquet(path: Path, config: DataConfig) -> list[RawPair | str]:
    need("pyarrow", "reading Parquet")
    import pyarrow
    from pyarrow import parquet

    found: list[RawPair | str] = []
    try:
        with parquet.ParquetFile(path) as table:
            columns = _required(path, config, table.schema_arrow.names)
            kind = table.schema_arrow.field(columns.image).type
            if pyarrow.types.is_struct(kind) or pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
                raise DataError(
                    f"column {columns.image!r} of {path} holds the pictures themselves, not their paths; read its "
                    f"folder with --data.source huggingface --data.root {path.parent} --data.splits.train train"
                )
            for batch in table.iter_batches(columns=columns.names):
                found += [_parquet_row(batch, row, columns, len(found) + row) for row in range(batch.num_rows)]
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({error}); export it again") from error
    return found


def _parquet_row(batch: Any, row: int, columns: _Columns, number: int) -> RawPair | str:
    try:
        return columns.listing({name: batch.column(name)[row].as_py() for name in columns.names}, f"row {number}")
    except (ValueError, OverflowError) as error:  # not text in UTF-8, or a time that Python does not know
        return f"row {number}: cannot be read ({error})"
