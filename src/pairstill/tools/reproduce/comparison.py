"""A table of the paper beside what was measured here: means, differences, ranks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import correlation
from typing import Any

from pairstill.config import EvaluationProtocol
from pairstill.evaluate.results import Row, summarise
from pairstill.tools.reproduce.paper import PaperRow

OTHER: dict[EvaluationProtocol, EvaluationProtocol] = {"strict": "paper", "paper": "strict"}


@dataclass(frozen=True)
class Line:
    """One row of the paper and what was measured for it.

    Attributes:
        row: the paper's row.
        ours: what was measured, or None.
        other: the same students under the other protocol, or None where they were not measured so.
        optimism: by how much the best epoch on the test split exceeds the one that validation chose, as the mean over
            the students that have both; None without such students.
        over: by how much our mean exceeds that of the reference row, or None.
        paper_over: the same in the paper.
        rank: place of our mean among the measured rows, the best at 1; ties share the mean of their places.
        paper_rank: place of the paper's mean among the same rows.
    """

    row: PaperRow
    ours: Row | None
    other: Row | None = None
    optimism: float | None = None
    over: float | None = None
    paper_over: float | None = None
    rank: float | None = None
    paper_rank: float | None = None

    @property
    def on_test(self) -> Row | None:
        """Of `ours` and `other` the one that is reported by the protocol `paper`, if any is."""
        return next((row for row in (self.ours, self.other) if row is not None and row.protocol == "paper"), None)


def compare(
    rows: Sequence[PaperRow],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    reference: str | None,
    protocol: EvaluationProtocol = "strict",
) -> list[Line]:
    """Return the lines of a table.

    Args:
        rows: the paper's rows.
        results: results by row name, one mapping for each student.
        reference: name of the row that others are compared with, or None.
        protocol: how our students are reported.
    """
    by_protocol = {name: rows_by_protocol(found) for name, found in results.items()}
    ours = {name: found[protocol] for name, found in by_protocol.items() if protocol in found}
    measured = [row for row in rows if row.name in ours]
    means = {row.name: ours[row.name].mean for row in measured}
    papers = {row.name: row.mean for row in measured}
    ranks, paper_ranks = places(means), places(papers)
    lines = []
    for row in rows:
        name = row.name
        if name not in means:
            lines.append(Line(row, None))
            continue
        found, with_reference = by_protocol[name], reference in means
        lines.append(
            Line(
                row=row,
                ours=ours[name],
                other=found.get(OTHER[protocol]),
                optimism=found["paper"].optimism if "paper" in found else None,
                over=means[name] - means[reference] if with_reference and reference else None,
                paper_over=papers[name] - papers[reference] if with_reference and reference else None,
                rank=ranks[name],
                paper_rank=paper_ranks[name],
            )
        )
    return lines


def rows_by_protocol(results: Iterable[Mapping[str, Any]]) -> dict[EvaluationProtocol, Row]:
    """Return the summary of a row's results under each protocol that they were measured by.

    Raises:
        ValueError: the results are of several methods or sizes.
    """
    found = summarise(results)
    kinds = dict.fromkeys(f"{row.title} ({row.num_pairs})" for row in found)
    if len(kinds) > 1:
        raise ValueError(f"a row has results of {', '.join(kinds)}")
    return {row.protocol: row for row in found}


def places(values: Mapping[str, float]) -> dict[str, float]:
    """Return the place of each value, the largest at 1; equal ones share the mean of their places.

    Example:
        >>> places({"a": 3.0, "b": 5.0, "c": 3.0})
        {'a': 2.5, 'b': 1.0, 'c': 2.5}
    """
    every = list(values.values())
    return {
        name: sum(other > value for other in every) + (every.count(value) + 1) / 2 for name, value in values.items()
    }


def rank_agreement(lines: Sequence[Line]) -> float | None:
    """Return Spearman's correlation between our means and the paper's, or None for fewer than three different ranks."""
    both = [(line.rank, line.paper_rank) for line in lines if line.rank is not None and line.paper_rank is not None]
    ours, papers = [rank for rank, _ in both], [rank for _, rank in both]
    if min(len(set(ours)), len(set(papers))) < 3:
        return None
    return correlation(ours, papers)
