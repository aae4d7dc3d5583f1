"""Rows in columns, as Arrow IPC files: written a few thousand at a time, read from where they lie.

Whatever reads Arrow opens them as well. No more than a few batches of rows are in memory, however many there are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairstill.core.errors import ArtifactError
from pairstill.storage.files import writing

if TYPE_CHECKING:
    import numpy

BATCH_ROWS = 4096
"""Rows of a batch, all but the last: what is written, and read, at a time."""
_BATCHES_KEPT = 16
Schema = Mapping[str, str]
"""The kind of each column: `text`, or `texts` for a list of them."""


@contextmanager
def writing_columns(
    path: Path, schema: Schema, metadata: Mapping[str, str] | None = None
) -> Iterator[Callable[..., None]]:
    """Give a function that adds a row, its values in the order of the columns; the file is whole after the block.

    Args:
        path: the file; it is written where it stands, so that it belongs into a temporary folder.
        schema: the columns.
        metadata: strings for the file's header.

    Raises:
        StorageError: it cannot be written.
    """
    import pyarrow

    kinds = {"text": pyarrow.large_string(), "texts": pyarrow.large_list(pyarrow.large_string())}
    types = [(name, kinds[kind]) for name, kind in schema.items()]
    arrow = pyarrow.schema(types, metadata=dict(metadata) if metadata else None)
    rows: list[tuple[Any, ...]] = []
    with writing(path):  # not the whole block: where rows come from, another file may fail
        file = pyarrow.OSFile(str(path), "wb")
        writer = pyarrow.ipc.new_file(file, arrow)

    def flush() -> None:
        columns = zip(*rows, strict=True)
        arrays = [pyarrow.array(column, kind) for column, (_, kind) in zip(columns, types, strict=True)]
        with writing(path):
            writer.write_batch(pyarrow.RecordBatch.from_arrays(arrays, schema=arrow))
        rows.clear()

    def add(*row: Any) -> None:
        rows.append(row)
        if len(rows) == BATCH_ROWS:
            flush()

    try:
        yield add
        if rows:
            flush()
    finally:
        with writing(path):
            writer.close()
            file.close()


class Columns:
    """The rows of a file that `writing_columns` wrote."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            ArtifactError: it is missing, damaged, or its rows are not in batches of ours.
        """
        import pyarrow

        if not path.is_file():
            raise ArtifactError(f"{path} does not exist; make it again")
        self.path = path
        try:
            # read, not mapped: pages of a mapped file would count as memory of the process
            self._file = pyarrow.ipc.open_file(pyarrow.OSFile(str(path), "rb"))
            batches = self._file.num_record_batches
            sizes = [self._file.get_batch(number).num_rows for number in sorted({0, batches - 1} if batches else ())]
        except (pyarrow.ArrowException, OSError) as error:
            raise _damaged(path, error) from error
        if len(sizes) > 1 and sizes[0] != BATCH_ROWS or any(not 0 < size <= BATCH_ROWS for size in sizes):
            raise _damaged(path, f"its batches have {sizes} rows")
        self._rows = (batches - 1) * BATCH_ROWS + sizes[-1] if sizes else 0
        self._batch = lru_cache(_BATCHES_KEPT)(self._read)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._rows

    def __reduce__(self) -> tuple[type["Columns"], tuple[Path]]:
        """Let another process open the same file."""
        return Columns, (self.path,)

    @property
    def metadata(self) -> dict[str, str]:
        """The strings of the header."""
        return {key.decode(): value.decode() for key, value in (self._file.schema.metadata or {}).items()}

    @property
    def schema(self) -> dict[str, str]:
        """The kind of each column, as Arrow has it for those that are not ours."""
        kinds = {"large_string": "text", "large_list<item: large_string>": "texts"}
        return {field.name: kinds.get(str(field.type), str(field.type)) for field in self._file.schema}

    def _read(self, number: int) -> Any:
        import pyarrow

        try:
            batch = self._file.get_batch(number)
            batch.validate(full=True)
        except (pyarrow.ArrowException, OSError) as error:
            raise _damaged(self.path, error) from error
        if batch.num_rows != min(BATCH_ROWS, self._rows - number * BATCH_ROWS):
            raise _damaged(self.path, f"batch {number} has {batch.num_rows} rows")
        return batch

    def batches(self, *names: str) -> Iterator[list[list[Any]]]:
        """Yield the values of some columns, batch after batch, a list for each column.

        Raises:
            ArtifactError: the file is damaged.
        """
        for number in range(-(-self._rows // BATCH_ROWS)):
            batch = self._batch(number)
            yield [batch.column(name).to_pylist() for name in names]

    def rows(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Yield the values of some columns, row after row."""
        for columns in self.batches(*names):
            yield from zip(*columns, strict=True)

    def row(self, row: int, *names: str) -> list[Any]:
        """Return the values of some columns in one row."""
        batch = self._batch(row // BATCH_ROWS)
        return [batch.column(name)[row % BATCH_ROWS].as_py() for name in names]

    def take(self, name: str, rows: "Sequence[int] | numpy.ndarray") -> list[Any]:
        """Return the values of some rows of a column, in their order; each batch is read once."""
        return [value for (value,) in self.take_rows(rows, name)]

    def take_rows(self, rows: "Sequence[int] | numpy.ndarray", *names: str) -> list[tuple[Any, ...]]:
        """Return the values of some columns in some rows, in their order; each batch is read once."""
        import numpy
        import pyarrow

        rows = numpy.asarray(rows, dtype=numpy.int64)
        order = numpy.argsort(rows, kind="stable")
        in_order = rows[order]
        values: list[Any] = [None] * len(rows)
        for start in numpy.flatnonzero(numpy.diff(in_order // BATCH_ROWS, prepend=-1)).tolist():
            number = int(in_order[start]) // BATCH_ROWS
            end = int(numpy.searchsorted(in_order, (number + 1) * BATCH_ROWS))
            within = pyarrow.array(in_order[start:end] % BATCH_ROWS)
            columns = [self._batch(number).column(name).take(within).to_pylist() for name in names]
            for place, row in zip(order[start:end].tolist(), zip(*columns, strict=True), strict=True):
                values[place] = row
        return values


def _damaged(path: Path, why: object) -> ArtifactError:
    return ArtifactError(f"{path} is damaged ({why}); delete it and make it again")
