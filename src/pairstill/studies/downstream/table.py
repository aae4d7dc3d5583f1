"""Accuracies on tasks beside retrieval: a row for each method, mean and spread over students."""

from collections.abc import Mapping, Sequence
from typing import Any

from pairstill.core.formatting import counted, printable, with_spread
from pairstill.evaluate.results import TOPS, DownstreamRow
from pairstill.report.tables import markdown_table

HEADER = ["method", *(f"ACC@{k}" for k in TOPS.values()), "ACC@1 by group", "retrieval", "students"]


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
