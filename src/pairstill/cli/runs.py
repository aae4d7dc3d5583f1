"""What commands that compute share: the pipeline with its progress, and tables on the terminal."""

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pairstill.config import RunConfig
from pairstill.core.errors import RankError
from pairstill.core.formatting import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from pairstill.evaluate.results import Row
    from pairstill.run.pipeline import Run
    from pairstill.studies.cross_encoder.table import Cell

TABLE_WIDTH = 132
"""A table that does not fit is unreadable."""
ENDLESS = 10_000
"""The width of a file or a pipe, which have none."""


def several_processes() -> bool:
    """Return whether torchrun started this process beside others."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def error_line(message: str) -> str:
    """Return an error as it is shown; of several processes, which all write to one terminal, with the one it is of."""
    where = f" on rank {os.environ.get('RANK')}" if several_processes() else ""
    return f"pairstill: error{where}: {printable(message)}"


def shown_on(*, stderr: bool = False, wide: bool = False) -> "Console":
    """Return the console; what does not go to a terminal is never broken into lines of a terminal's width.

    Args:
        stderr: whether it is the one of progress and errors.
        wide: whether to be at least as wide as a table, where a terminal is not.
    """
    console = _console(stderr=stderr)
    if not (console.is_terminal or console.is_jupyter):
        return _console(stderr=stderr, width=ENDLESS)
    return _console(stderr=stderr, width=TABLE_WIDTH) if wide and console.width < TABLE_WIDTH else console


def _console(*, stderr: bool = False, width: int | None = None) -> "Console":
    """Return a console that shows text as it is: paths and names may hold brackets and control characters."""
    from rich.console import Console

    class Plain(Console):
        def render_str(self, text: str, **options: Any) -> "Text":
            return super().render_str(printable(text), **options)

    return Plain(stderr=stderr, width=width, markup=False)


def _stopped_by_torchrun(*_: object) -> None:
    raise RankError(
        "torchrun stopped this process, as it does when another rank stopped; see its own message. "
        "The same command goes on from the last checkpoint"
    )


@contextmanager
def open_run(config: RunConfig, *, writes: bool = True) -> "Iterator[tuple[Run, Console]]":
    """Give a run, and the console that shows its progress; without `writes` its folder is only read."""
    from pairstill.run.pipeline import Run

    if several_processes():
        # it may come before the lost rank is missed; without this the process would die without a word
        signal.signal(signal.SIGTERM, _stopped_by_torchrun)
    with Run(config, shown_on(stderr=True), writes=writes) as run:
        yield run, run.context.console


def show_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Show a table whose first column is text and whose others are numbers."""
    from rich.measure import Measurement
    from rich.table import Table

    table = Table(title=title)
    for number, name in enumerate(header):
        table.add_column(name, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    endless = _console(width=ENDLESS)
    needed = Measurement.get(endless, endless.options, table).maximum
    _console(width=max(_console().width, needed)).print(table)


def print_table(rows: "Sequence[Row]", config: RunConfig) -> None:
    """Show the recalls of a run."""
    if not rows:
        return  # of several processes, the main one shows the table
    from pairstill.report.tables import cells, header

    columns = header(rows)
    show_table(recall_title(config.evaluate.protocols), columns, (cells(row, columns) for row in rows))


def recall_title(protocols: Sequence[str]) -> str:
    """Return the title of a table of recalls, which says what its protocols mean."""
    meanings = {"strict": "epochs chosen on validation", "paper": "the best on test, optimistic"}
    described = "; ".join(f"{protocol}: {meanings[protocol]}" for protocol in protocols)
    return f"Recall on the test split in % ({'protocol ' if len(protocols) == 1 else ''}{described})"


def print_cells(cells: "Sequence[Cell]") -> None:
    """Show the recalls of students by their encoders."""
    if not cells:
        return  # of several processes, the main one shows the table
    from pairstill.studies.cross_encoder.table import HEADER, NOTES, cell_columns, matrix_rows

    header, rows = matrix_rows(cells)
    show_table("Mean recall on the test split in %", header, rows)
    show_table("Recalls", HEADER, map(cell_columns, cells))
    print(NOTES)
