"""Results as a table: one row for each method and size, mean and spread over students."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from pairstill.methods import METHODS

RANDOM_SELECTED = "random_selected"
"""The row of one draw of random pairs, as `pairstill select` keeps it; `random` draws anew for every student."""

TITLES = {
    **{method.name: method.title for method in METHODS},
    RANDOM_SELECTED: "Random, one draw",
    "full": "Full data",
}
RECALL_TITLES = {
    "text_to_image_r1": "IR@1",
    "text_to_image_r5": "IR@5",
    "text_to_image_r10": "IR@10",
    "image_to_text_r1": "TR@1",
    "image_to_text_r5": "TR@5",
    "image_to_text_r10": "TR@10",
}


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        title: the method as people know it.
        num_pairs: pairs that the method keeps.
        recalls: mean of each recall over the students, in percent, by key.
        mean: mean over students of the mean recall.
        spread: standard deviation of the mean recall over students, or None for a single one.
        share: the mean as a percentage of full data's, or None without full data.
        students: number of students.
        bytes: storage.
        seconds: mean seconds of a student.
    """

    title: str
    num_pairs: int
    recalls: Mapping[str, float]
    mean: float
    spread: float | None
    share: float | None
    students: int
    bytes: int
    seconds: float


def summarise(results: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Group results (one mapping per student) by method and size, in the order in which they first appear.

    Full data is shown last, whatever its place.
    """
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault((result["method"], result["num_pairs"]), []).append(result)
    full = [r["mean_recall"] for (method, _), members in groups.items() if method == "full" for r in members]
    whole = mean(full) if full else None
    ordered = sorted(groups.items(), key=lambda item: item[0][0] == "full")
    return [_row(method, num_pairs, members, whole) for (method, num_pairs), members in ordered]


def _row(method: str, num_pairs: int, members: Sequence[Mapping[str, Any]], whole: float | None) -> Row:
    means = [member["mean_recall"] for member in members]
    return Row(
        title=TITLES.get(method, method),
        num_pairs=num_pairs,
        recalls={key: mean(member[key] for member in members) for key in RECALL_TITLES},
        mean=mean(means),
        spread=stdev(means) if len(means) > 1 else None,
        share=None if not whole else 100 * mean(means) / whole,
        students=len(members),
        bytes=members[0]["bytes"],
        seconds=mean(member["seconds"] for member in members),
    )


def cells(row: Row) -> list[str]:
    """Return the cells of a row, in the order of `HEADER`."""
    spread = "" if row.spread is None else f" ± {row.spread:.1f}"
    return [
        row.title,
        f"{row.num_pairs:,}",
        *(f"{row.recalls[key]:.1f}" for key in RECALL_TITLES),
        f"{row.mean:.1f}{spread}",
        "" if row.share is None else f"{row.share:.0f} %",
        human_bytes(row.bytes),
        f"{row.seconds:.0f} s",
        str(row.students),
    ]


HEADER = ["method", "pairs", *RECALL_TITLES.values(), "mean", "of full", "size", "time", "students"]


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| " + " | ".join(HEADER) + " |", "|" + " --- |" + " ---: |" * (len(HEADER) - 1)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def human_bytes(count: int) -> str:
    """Return a byte count for people.

    Example:
        >>> human_bytes(123), human_bytes(2_500_000)
        ('123 B', '2.5 MB')
    """
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
