"""Accuracies on tasks beside retrieval: a row for each method, mean and spread over students."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from pairstill.core.formatting import counted, printable, with_spread
from pairstill.evaluate.results import TITLES
from pairstill.report.tables import markdown_table

TOPS = {"top1": 1, "top5": 5, "top10": 10}
HEADER = ["method", *(f"ACC@{k}" for k in TOPS.values()), "ACC@1 by group", "retrieval", "students"]


@dataclass(frozen=True)
class DownstreamRow:
    """One method on a task.

    Attributes:
        title: the method as people know it.
        means: mean of ACC@1, 5 and 10 over the students, in percent; None where there are too few candidates.
        spreads: their standard deviations; None where there is no mean or a single student.
        by_group: mean over the classes, or the types of questions, of their ACC@1, so that all count alike.
        retrieval: mean recall of the same students on the retrieval test split, or None for chance.
        students: number of students.
    """

    title: str
    means: tuple[float | None, ...]
    spreads: tuple[float | None, ...]
    by_group: float
    retrieval: float | None
    students: int


def downstream_rows(results: Iterable[Mapping[str, Any]]) -> list[DownstreamRow]:
    """Group results (one mapping per student) of one task by method, after a row of what chance alone would get."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault(result["method"], []).append(result)
    if not groups:
        return []
    candidates = next(iter(groups.values()))[0]["candidates"]
    chance = tuple(100 * k / candidates if k == 1 or candidates > k else None for k in TOPS.values())
    return [
        DownstreamRow("Chance", chance, (None,) * len(TOPS), 100 / candidates, None, 0),
        *(_downstream_row(method, members) for method, members in groups.items()),
    ]


def _downstream_row(method: str, members: Sequence[Mapping[str, Any]]) -> DownstreamRow:
    values = [[member[top] for member in members if member[top] is not None] for top in TOPS]
    return DownstreamRow(
        title=members[0].get("title", TITLES.get(method, method)),
        means=tuple(mean(found) if found else None for found in values),
        spreads=tuple(stdev(found) if len(found) > 1 else None for found in values),
        by_group=mean(mean(member["top1_by_group"].values()) for member in members),
        retrieval=mean(member["retrieval_mean_recall"] for member in members),
        students=len(members),
    )


def downstream_cells(row: DownstreamRow) -> list[str]:
    """Return the cells of a row, in the order of `HEADER`."""
    accuracies = [with_spread(value, spread) for value, spread in zip(row.means, row.spreads, strict=True)]
    others = [
        with_spread(row.by_group, None),
        with_spread(row.retrieval, None),
        str(row.students) if row.students else "",
    ]
    return [row.title, *accuracies, *others]


def about(facts: Mapping[str, Any]) -> str:
    """Return what the numbers are of, for people."""
    drawn = ""
    if facts.get("class_seed") is not None:
        drawn = f", drawn with seed {facts['class_seed']}"
    if facts.get("question_seed") is not None:
        drawn = f", drawn with seed {facts['question_seed']}"
    if facts["task"] == "cocoqa":
        return (
            f"COCO-QA as retrieval: {counted(facts['items'], 'question')} of {facts['data']}{drawn}, "
            f"{facts['candidates']:,} candidate answers, template {facts['template']!r}."
        )
    return (
        f"Zero-shot classification: {counted(facts['items'], 'image')} ({facts['data']}) of {facts['candidates']:,} "
        f"classes{drawn}: {', '.join(facts['classes'])}. Prompts: {', '.join(map(repr, facts['templates']))}."
    )


def downstream_page(rows: Sequence[DownstreamRow], facts: Mapping[str, Any]) -> str:
    """Return the rows as Markdown, with what they are of."""
    table = markdown_table(HEADER, map(downstream_cells, rows))
    return (
        f"{printable(about(facts))} Accuracies in %; by group: the mean over classes, or types of questions, however "
        "many items each has. Students were chosen on the retrieval validation split; nothing was trained or chosen on "
        "this task."
        f"\n\n{table}"
    )
