"""Results as a table: one row for each method, size and protocol, mean and spread over students."""

from collections.abc import Iterable, Sequence

from pairstill.core.formatting import human_bytes, printable, with_spread
from pairstill.evaluate.results import Row

RECALL_TITLES = {
    "text_to_image_r1": "IR@1",
    "text_to_image_r5": "IR@5",
    "text_to_image_r10": "IR@10",
    "image_to_text_r1": "TR@1",
    "image_to_text_r5": "TR@5",
    "image_to_text_r10": "TR@10",
}


SIZE_HEADER = ["size", "on disk"]
"""What pairs take: by the paper's convention, where a pixel is a float32, and in their smallest files."""
HEADER = ["method", "pairs", *RECALL_TITLES.values(), "mean", "of full", *SIZE_HEADER, "time", "students"]
TEST_HEADER = ["chosen on test", "test reads"]
"""What stands beside every number of the protocol `paper`."""


def header(rows: Sequence[Row]) -> list[str]:
    """Return the columns of a table of these rows.

    Where any was chosen on the test split, it says what, and how often that was read; where there are both protocols,
    which is which, and the optimism.
    """
    protocols = {row.protocol for row in rows}
    several, on_test = len(protocols) > 1, "paper" in protocols
    mean_and = ["mean", *["optimism"] * several, *(TEST_HEADER if on_test else ())]
    return ["method", "pairs", *["protocol"] * several, *RECALL_TITLES.values(), *mean_and, *HEADER[9:]]


def cells(row: Row, columns: Sequence[str] = HEADER) -> list[str]:
    """Return the cells of a row, in the order of the columns."""
    content = {
        "method": row.title,
        "pairs": f"{row.num_pairs:,}",
        "protocol": row.protocol,
        **{title: f"{row.recalls[key]:.1f}" for key, title in RECALL_TITLES.items()},
        "mean": with_spread(row.mean, row.spread),
        "optimism": "" if row.optimism is None else f"{row.optimism:+.1f}",
        "chosen on test": chosen_on_test(row),
        "test reads": reads_of_test(row),
        "of full": "" if row.share is None else f"{row.share:.0f} %",
        **dict(zip(SIZE_HEADER, size_cells(row.bytes, row.disk_bytes), strict=True)),
        "time": f"{row.seconds:.0f} s",
        "students": str(row.students),
    }
    return [content[column] for column in columns]


def size_cells(size: int | None, on_disk: int | None) -> list[str]:
    """Return what pairs take, in the order of `SIZE_HEADER`; blank what results of old do not say.

    Example:
        >>> size_cells(30_600_000, None)
        ['30.6 MB', '']
    """
    return ["" if count is None else human_bytes(count) for count in (size, on_disk)]


def chosen_on_test(row: Row) -> str:
    """Return what was chosen on the test split."""
    return " and ".join(row.on_test) or "nothing"


def reads_of_test(row: Row) -> str:
    """Return how often a student's recall was measured on the test split."""
    return "not counted" if row.test_reads is None else f"{row.test_reads:,}"


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    columns = header(rows)
    return markdown_table(columns, [cells(row, columns) for row in rows])


SPREAD_HEADER = ["method", "pairs", "protocol", "over students", "over distillations", "over teachers"]


SPREAD_NOTE = (
    "Standard deviations of the mean recall: over the students of a set, over the means of sets by the same teachers, "
    "and over the means of teachers; each also holds what is left of the spread to its left."
)


def spread_cells(row: Row) -> list[str]:
    """Return where the spread of a row's mean recall comes from, in the order of `SPREAD_HEADER`."""
    levels = (row.spreads.students, row.spreads.distillations, row.spreads.teachers)
    shown = ["not measured" if level is None else f"± {level:.1f}" for level in levels]
    return [row.title, f"{row.num_pairs:,}", row.protocol, *shown]


def _escaped(cells: Sequence[str]) -> list[str]:
    """Return cells in which nothing ends the cell or the line: paths and class names may hold anything."""
    return [" ".join(printable(cell).splitlines()).replace("|", "\\|") for cell in cells]


def markdown_table(columns: Sequence[str], body: Iterable[Sequence[str]], words: int = 1) -> str:
    """Return a Markdown table whose first columns, `words` of them, hold words and whose others hold numbers."""
    columns, body = _escaped(columns), map(_escaped, body)
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * words + " ---: |" * (len(columns) - words)]
    lines += ["| " + " | ".join(line) + " |" for line in body]
    return "\n".join(lines) + "\n"
