"""Records of a CSV file, each read by itself: one that is damaged is named by its line and takes no other along."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_MAX_FIELD = 2**31 - 1


@dataclass(frozen=True, slots=True)
class CsvRecord:
    """A record.

    Attributes:
        line: the line that it begins in, from 1.
        fields: its fields.
    """

    line: int
    fields: list[str]


@contextmanager
def csv_records(path: Path) -> Iterator[Iterator[CsvRecord | str]]:
    """Give the records of a CSV file with as many fields as the first has, and what is wrong with each other one.

    A quoted field may run over several lines. Where that goes wrong (a quote that is never closed, something between a
    quote and the next comma, another number of fields), the first of the lines is what is wrong, and the next one is
    read as the beginning of a record. Empty lines are no records.

    Args:
        path: the file, in UTF-8, with or without a byte order mark.
    """
    before = csv.field_size_limit(_MAX_FIELD)  # the limit is the process's own
    try:
        # What is no UTF-8 becomes half a surrogate pair, so that it is found in the record where it is.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            yield _records(list(stream))
    finally:
        csv.field_size_limit(before)


def _records(lines: list[str]) -> Iterator[CsvRecord | str]:
    at, width = 0, 0
    while at < len(lines):
        reader = csv.reader(map(lines.__getitem__, range(at, len(lines))), strict=True)
        where, problem, fields = f"line {at + 1}", "", []
        try:
            fields = next(reader, [])
        except csv.Error as error:
            problem = _explained(str(error))
        width = width or len(fields)
        if problem or not fields:
            pass
        elif len(fields) != width:
            problem = f"the row has {len(fields)} fields, the header {width}; quote captions that contain commas"
        elif not all(map(_is_utf8, fields)):
            problem = "not text in UTF-8; export the table again"
        if problem:
            yield f"{where}: {problem}"
        elif fields:
            yield CsvRecord(at + 1, fields)
        at += 1 if problem else max(1, reader.line_num)


def _explained(problem: str) -> str:
    if problem == "unexpected end of data":
        return "a quote that opens here is never closed; close it, or double a quote that is part of a caption"
    return f"{problem}; double a quote that is part of a caption, and put the whole caption in quotes"


def _is_utf8(text: str) -> bool:
    return text.isascii() or not any("\udc80" <= character <= "\udcff" for character in text)
