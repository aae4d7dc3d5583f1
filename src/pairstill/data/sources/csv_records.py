"""Records of a table of text, each read by itself: one that is damaged is named by its line, no other goes with it."""

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import AnyStr

from pairstill.core.errors import DataError

_MAX_FIELD = 2**31 - 1
MAX_LINE = 2**28
"""More characters than a line of a table has, whatever its captions."""
SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
"""What may stand between the fields of a record, and how it is called."""


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
def csv_lines(path: Path) -> Iterator[Iterator[str]]:
    """Give the lines of a table of text, for `csv_records`, which may be asked as long as this holds.

    Args:
        path: the file, in UTF-8, with or without a byte order mark.
    """
    before = csv.field_size_limit(_MAX_FIELD)  # the limit is the process's own
    try:
        # What is no UTF-8 becomes half a surrogate pair, so that it is found in the record where it is.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            yield bounded(path, stream.readline)
    finally:
        csv.field_size_limit(before)


def bounded(path: Path, read_line: Callable[[int], AnyStr]) -> Iterator[AnyStr]:
    """Yield lines until there are none.

    Args:
        path: the file that they are of.
        read_line: returns the next line, or as much of it as it is asked for.

    Raises:
        DataError: one is so long that it would fill the memory.
    """
    while line := read_line(MAX_LINE):
        if len(line) == MAX_LINE:
            raise DataError(f"{path} has a line of {MAX_LINE} characters or more; it is no table")
        yield line


def csv_records(lines: Iterable[str], separator: str) -> Iterator[CsvRecord | str]:
    """Yield the records with as many fields as the first has, and what is wrong with each other one.

    A quoted field may run over several lines. Where that goes wrong (a quote that is never closed, something between a
    quote and the next separator, another number of fields), the first of the lines is what is wrong, and the next one
    is read as the beginning of a record. Empty lines are no records.

    Args:
        lines: the lines with their ends.
        separator: one of `SEPARATORS`.
    """
    source = _Lines(iter(lines))
    reader, at, width = csv.reader(source, strict=True, delimiter=separator), 0, 0
    while True:
        where, problem, fields = f"line {at + 1}", "", []
        source.taken.clear()
        try:
            fields = next(reader, [])
        except csv.Error as error:
            problem = _explained(str(error))
        if not source.taken:
            return
        width = width or len(fields)
        if problem or not fields:
            pass
        elif len(fields) != width:
            of = SEPARATORS[separator]
            problem = f"the row has {len(fields)} fields, the header {width}; quote captions that contain {of}"
        elif not all(map(_is_utf8, fields)):
            problem = "not text in UTF-8; export the table again"
        if problem:
            yield f"{where}: {problem}"
            source.give_back(1)
            reader = csv.reader(source, strict=True, delimiter=separator)
        elif fields:
            yield CsvRecord(at + 1, fields)
        at += 1 if problem else len(source.taken)


class _Lines:
    """Lines of which those that were taken last can be read once more."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.taken: list[str] = []
        self._lines = lines
        self._again: deque[str] = deque()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        return line

    def give_back(self, first: int) -> None:
        """Have the taken lines read again, from one of them on."""
        self._again.extendleft(reversed(self.taken[first:]))


def _explained(problem: str) -> str:
    if problem == "unexpected end of data":
        return "a quote that opens here is never closed; close it, or double a quote that is part of a caption"
    return f"{problem}; double a quote that is part of a caption, and put the whole caption in quotes"


def _is_utf8(text: str) -> bool:
    return text.isascii() or not any("\udc80" <= character <= "\udcff" for character in text)
