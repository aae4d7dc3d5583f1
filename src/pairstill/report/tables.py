"""Results as a table: one row for each method, size and protocol, mean and spread over students."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from pairstill.config import Protocol, RunConfig
from pairstill.evaluate.measurement import CLOSED_FORM, RANDOM_SELECTED, frozen_title, made_name
from pairstill.evaluate.spread import Repeat, Spread, spread
from pairstill.methods import METHODS
from pairstill.wording import human_bytes, printable, with_spread

TITLES = {
    **{method.name: method.title for method in METHODS},
    **{f"{method.name}_{CLOSED_FORM}": f"{method.title}, closed form" for method in METHODS},
    RANDOM_SELECTED: "Random, one draw",
    "full": "Full data",
}
"""Titles of rows by name; see `made_title` for those of a run's own pairs."""
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
        protocol: how its students are reported.
        recalls: mean of each recall over the students, in percent, by key.
        mean: mean over students of the mean recall.
        spread: standard deviation of the mean recall over all students, or None for a single one.
        spreads: the spread over students, distillations and teachers, each by itself.
        optimism: of `paper`: by how much its mean exceeds that of the same students under `strict`; None where no
            student was reported both ways, and for `strict`.
        share: the mean as a percentage of full data's under the same protocol, or None without full data.
        students: number of students.
        bytes: storage.
        seconds: mean seconds of a student.
        test_reads: how often recall was measured on the test split for a student, the most of all students; None for
            results of old, which do not say.
        on_test: what was chosen on the test split: epoch, rates; nothing under `strict`.
    """

    title: str
    num_pairs: int
    protocol: Protocol
    recalls: Mapping[str, float]
    mean: float
    spread: float | None
    spreads: Spread
    optimism: float | None
    share: float | None
    students: int
    bytes: int
    seconds: float
    test_reads: int | None = None
    on_test: tuple[str, ...] = ()


def made_title(config: RunConfig) -> str:
    """Return the title of the row of a run's own pairs."""
    return frozen_title(config) or TITLES[made_name(config)]


def summarise(results: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Group results (one mapping per student and protocol) by method, size and protocol, as they first appear.

    Full data is shown last, whatever its place, and `paper` below `strict`.
    """
    results = list(results)
    full = [result for result in results if result["method"] == "full"]
    groups: dict[tuple[str, int], dict[Protocol, list[Mapping[str, Any]]]] = {}
    for result in results:
        of_size = groups.setdefault((result["method"], result["num_pairs"]), {})
        of_size.setdefault(result["protocol"], []).append(result)
    ordered = sorted(groups.items(), key=lambda item: item[0][0] == "full")
    rows = []
    for (method, _), by_protocol in ordered:
        for protocol in sorted(by_protocol, key=("strict", "paper").index):
            whole = [r["mean_recall"] for r in full if r["protocol"] == protocol]
            rows.append(_row(method, protocol, by_protocol, mean(whole) if whole else None))
    return rows


def _row(
    method: str,
    protocol: Protocol,
    by_protocol: Mapping[Protocol, Sequence[Mapping[str, Any]]],
    whole: float | None,
) -> Row:
    members = by_protocol[protocol]
    means = [member["mean_recall"] for member in members]
    return Row(
        title=members[0].get("title", TITLES.get(method, method)),
        num_pairs=members[0]["num_pairs"],
        protocol=protocol,
        recalls={key: mean(member[key] for member in members) for key in RECALL_TITLES},
        mean=mean(means),
        spread=stdev(means) if len(means) > 1 else None,
        spreads=spread(map(_repeat, members)),
        optimism=_optimism(by_protocol) if protocol == "paper" else None,
        share=None if not whole else 100 * mean(means) / whole,
        students=len(members),
        bytes=members[0]["bytes"],
        seconds=mean(member["seconds"] for member in members),
        test_reads=_test_reads(members, protocol),
        on_test=_on_test(members) if protocol == "paper" else (),
    )


def _test_reads(members: Sequence[Mapping[str, Any]], protocol: Protocol) -> int | None:
    if protocol == "strict":
        return 1
    reads = [member["test_reads"] for member in members if "test_reads" in member]
    return max(reads) if len(reads) == len(members) else None


def _on_test(members: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what `paper` chose on the test split; results of old that name rates had them chosen."""
    epochs = any(member.get("epoch", 1) > 0 for member in members)  # a student in closed form has none
    rates = any("lr_image" in member.get("settings", {}) and member.get("rates_tried", 2) > 1 for member in members)
    return ("epoch",) * epochs + ("rates",) * rates


def _repeat(result: Mapping[str, Any]) -> Repeat:
    """Return a result with the seeds of what it was trained on; results of old runs name the run's alone."""
    seeds, refers = result["seeds"], result["method"] in ("random", "full")
    teachers, distillation = (
        seeds[part] if part in seeds else None if refers else seeds["run"] for part in ("teachers", "distillation")
    )
    return Repeat(teachers, distillation, result["mean_recall"])


def student_seeds(result: Mapping[str, Any]) -> tuple[int | None, ...]:
    """Return the seeds that tell a student from all others of its row: teachers', distillation's, run's and its own."""
    repeat, seeds = _repeat(result), result["seeds"]
    return repeat.teachers, repeat.distillation, seeds["run"], seeds["student"]


def _optimism(by_protocol: Mapping[Protocol, Sequence[Mapping[str, Any]]]) -> float | None:
    """Return the mean of best-on-test minus chosen-on-validation, over the students that have both."""
    strict, paper = (
        {student_seeds(result): result["mean_recall"] for result in by_protocol.get(protocol, ())}
        for protocol in ("strict", "paper")
    )
    both = [paper[student] - strict[student] for student in paper if student in strict]
    return mean(both) if both else None


HEADER = ["method", "pairs", *RECALL_TITLES.values(), "mean", "of full", "size", "time", "students"]
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
        "size": human_bytes(row.bytes),
        "time": f"{row.seconds:.0f} s",
        "students": str(row.students),
    }
    return [content[column] for column in columns]


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
