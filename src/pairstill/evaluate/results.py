"""Results of students, summed up: rows of a run's table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import mean, stdev
from typing import Any

from pairstill.config import EvaluationProtocol, RunConfig
from pairstill.evaluate.measurement import (
    CLOSED_FORM,
    ON_DISK,
    ON_DISK_JPEG,
    RANDOM_ON_DISK,
    RANDOM_SELECTED,
    made_name,
    own_title,
)
from pairstill.evaluate.retrieval import Recalls
from pairstill.evaluate.spread import Repeat, Spread, spread
from pairstill.methods import METHODS

TITLES = {
    **{method.name: method.title for method in METHODS},
    **{f"{method.name}_{CLOSED_FORM}": f"{method.title}, closed form" for method in METHODS},
    **{f"{method.name}_{ON_DISK}": f"{method.title}, from disk" for method in METHODS},
    **{f"{method.name}_{ON_DISK_JPEG}": f"{method.title}, from disk as JPEG" for method in METHODS},
    RANDOM_SELECTED: "Random, one draw",
    RANDOM_ON_DISK: "Random, as many bytes on disk",
    "full": "Full data",
}
"""Titles of rows by name; see `made_title` for those of a run's own pairs."""
RECALL_KEYS = tuple(field.name for field in fields(Recalls))


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
        bytes: storage by the paper's convention, where a pixel is a float32.
        seconds: mean seconds of a student.
        test_reads: how often recall was measured on the test split for a student, the most of all students; None for
            results of old, which do not say.
        on_test: what was chosen on the test split: epoch, rates; nothing under `strict`.
        disk_bytes: what the pairs take on disk, as JPEG or PNG, float16 and strings; None for results of old.
    """

    title: str
    num_pairs: int
    protocol: EvaluationProtocol
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
    disk_bytes: int | None = None


def made_title(config: RunConfig) -> str:
    """Return the title of the row of a run's own pairs."""
    return own_title(config) or TITLES[made_name(config)]


def of_tower(title: str, tower: str | None) -> str:
    """Return the title of a row whose students have one of several image towers.

    Example:
        >>> of_tower("PTM-ST", "resnet18")
        'PTM-ST, resnet18'
    """
    return title if tower is None else f"{title}, {tower}"


def summarise(results: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Group results (one mapping per student and protocol) by method, size and protocol, as they first appear.

    Full data is shown last, whatever its place, and `paper` below `strict`. Where results name one of several image
    towers, each has rows of its own, and full data of its own.
    """
    results = list(results)
    towers = dict.fromkeys(result.get("tower") for result in results)
    return [row for tower in towers for row in _summarised([r for r in results if r.get("tower") == tower])]


def _summarised(results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Group the results of one image tower."""
    full = [result for result in results if result["method"] == "full"]
    groups: dict[tuple[str, int], dict[EvaluationProtocol, list[Mapping[str, Any]]]] = {}
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
    protocol: EvaluationProtocol,
    by_protocol: Mapping[EvaluationProtocol, Sequence[Mapping[str, Any]]],
    whole: float | None,
) -> Row:
    members = by_protocol[protocol]
    means = [member["mean_recall"] for member in members]
    return Row(
        title=of_tower(members[0].get("title", TITLES.get(method, method)), members[0].get("tower")),
        num_pairs=members[0]["num_pairs"],
        protocol=protocol,
        recalls={key: mean(member[key] for member in members) for key in RECALL_KEYS},
        mean=mean(means),
        spread=stdev(means) if len(means) > 1 else None,
        spreads=spread(map(_repeat, members)),
        optimism=_optimism(by_protocol) if protocol == "paper" else None,
        share=None if not whole else 100 * mean(means) / whole,
        students=len(members),
        bytes=members[0]["bytes"],
        disk_bytes=members[0].get("disk_bytes"),
        seconds=mean(member["seconds"] for member in members),
        test_reads=_test_reads(members, protocol),
        on_test=_on_test(members) if protocol == "paper" else (),
    )


def _test_reads(members: Sequence[Mapping[str, Any]], protocol: EvaluationProtocol) -> int | None:
    if protocol == "strict":
        return 1
    reads = [member["test_reads"] for member in members if "test_reads" in member]
    return max(reads) if len(reads) == len(members) else None


def _on_test(members: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what `paper` chose on the test split; results of old that name rates had them chosen there as well."""
    epochs = any(member.get("epoch", 1) > 0 for member in members)  # a student in closed form has none
    old = [member for member in members if "rates" not in member]
    rates = any("lr_image" in member.get("settings", {}) and member.get("rates_tried", 2) > 1 for member in old)
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


def _optimism(by_protocol: Mapping[EvaluationProtocol, Sequence[Mapping[str, Any]]]) -> float | None:
    """Return the mean of best-on-test minus chosen-on-validation, over the students that have both."""
    strict, paper = (
        {student_seeds(result): result["mean_recall"] for result in by_protocol.get(protocol, ())}
        for protocol in ("strict", "paper")
    )
    both = [paper[student] - strict[student] for student in paper if student in strict]
    return mean(both) if both else None
