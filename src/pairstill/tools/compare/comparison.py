"""The rows of several runs in one table, and which methods differ."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import torch

from pairstill.config import EvaluationProtocol
from pairstill.evaluate.bootstrap import Difference, difference
from pairstill.evaluate.hierarchy import RepeatedHits, resampled_repeats
from pairstill.evaluate.measurement import RANDOM_SELECTED
from pairstill.evaluate.results import TITLES, Row, made_title, summarise
from pairstill.evaluate.retrieval import few_test_images
from pairstill.tools.compare.differences import differing_settings
from pairstill.tools.compare.runs import MeasuredRun, check_same_test_data, hits_of, stored_ranks


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seeds.

    Attributes:
        runs: the runs.
        title: the method; with its pairs, or else the folder, where other groups have the same method.
    """

    runs: tuple[MeasuredRun, ...]
    title: str

    @property
    def first(self) -> MeasuredRun:
        """The run that stands for all."""
        return self.runs[0]


@dataclass(frozen=True)
class Contest:
    """Two rows and how far the first is ahead of the second.

    Attributes:
        first: title of the first row.
        second: title of the second row.
        protocol: how both are reported.
        difference: of their mean recalls.
        distillations: how many sets of pairs the first and the second row have; what one has several of is resampled.
    """

    first: str
    second: str
    protocol: EvaluationProtocol
    difference: Difference
    distillations: tuple[int, int]

    @property
    def sentence(self) -> str:
        """What it says, for people."""
        found, (ahead, behind) = self.difference.recall, (_inside(self.first), _inside(self.second))
        value, low, high = found.value, found.low, found.high
        if value < 0:
            ahead, behind, value, low, high = behind, ahead, -value, -high, -low
        numbers = f"by {value:.1f} [{low:.1f}, {high:.1f}], p {_probability(self.difference.p_value)}; {self._scope}"
        if self.difference.is_clear:
            return f"{ahead} is ahead of {behind} {numbers}"
        return f"no clear difference between {ahead} and {behind}: {ahead} is ahead {numbers}"

    @property
    def _scope(self) -> str:
        """Which distillations it speaks of: those that were measured, or others as well."""
        first, second = self.distillations
        if first == second:
            return "for these distillations alone" if first == 1 else f"over {first} distillations of each"
        titled = zip((self.first, self.second), self.distillations, strict=True)
        return ", ".join(f"{_inside(title)}: {'one set' if sets == 1 else f'{sets} sets'}" for title, sets in titled)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        names = {"first": self.first, "second": self.second, "protocol": self.protocol}
        names |= {"distillations": list(self.distillations)}
        return {**names, **asdict(self.difference), "clear": self.difference.is_clear, "sentence": self.sentence}


@dataclass(frozen=True)
class Comparison:
    """Several runs, compared.

    Attributes:
        groups: the runs, repetitions together.
        rows: of all runs.
        contests: methods in pairs, and each against the Random of its runs where that was measured.
        differing: a line for each setting beside those of the pairs that is not the same for all groups.
        caution: what must be said of all recalls, where the test images are few; or empty.
    """

    groups: tuple[Group, ...]
    rows: tuple[Row, ...]
    contests: tuple[Contest, ...]
    differing: tuple[str, ...]
    caution: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "runs": {group.title: [str(run.path) for run in group.runs] for group in self.groups},
            "rows": [asdict(row) for row in self.rows],
            "differing": list(self.differing),
            "caution": self.caution,
            "differences": [contest.to_json() for contest in self.contests],
        }


def compare(runs: Sequence[MeasuredRun], resamples: int, generator: torch.Generator) -> Comparison:
    """Compare runs that were measured on the same test data.

    Args:
        runs: at least one.
        resamples: of the test images, and of what a row has several of.
        generator: draws them.

    Raises:
        ConfigError: they were measured on different test data.
        ArtifactError: ranks are missing or do not fit the results.
    """
    check_same_test_data(runs)
    groups = grouped(runs)
    contests: list[Contest] = []
    for protocol in ("strict", "paper"):
        field = _field(groups, protocol)
        if field.pairs:
            contests += _contests(field, protocol, resamples, generator)
    differing = differing_settings({group.title: group.first.config for group in groups})
    caution = few_test_images(_test_images(runs[0]))
    return Comparison(tuple(groups), tuple(rows_of(groups)), tuple(contests), tuple(differing), caution)


def _test_images(run: MeasuredRun) -> int:
    """Return how many images students were tested on; all runs have the same."""
    return int(stored_ranks(run, run.results[0]).caption_owner.max()) + 1


def grouped(runs: Sequence[MeasuredRun]) -> list[Group]:
    """Return the runs with their repetitions, in the order of first appearance, under titles that tell them apart."""
    by_key: dict[str, list[MeasuredRun]] = {}
    for run in runs:
        by_key.setdefault(run.made_key, []).append(run)
    members = [tuple(repetitions) for repetitions in by_key.values()]
    titles = _titles([of[0] for of in members])
    return [Group(of, title) for of, title in zip(members, titles, strict=True)]


def _titles(runs: Sequence[MeasuredRun]) -> list[str]:
    """Return each run's method; where several have the same, with its pairs, or else with its folder."""
    methods = [made_title(run.config) for run in runs]
    sized = [f"{title}, {run.config.distill.num_pairs} pairs" for title, run in zip(methods, runs, strict=True)]
    placed = [f"{title} ({run.path})" for title, run in zip(methods, runs, strict=True)]
    titles = [finer if methods.count(title) > 1 else title for title, finer in zip(methods, sized, strict=True)]
    return [finer if titles.count(title) > 1 else title for title, finer in zip(titles, placed, strict=True)]


def rows_of(groups: Sequence[Group]) -> list[Row]:
    """Return the rows of all runs; references that several runs measured alike stand once.

    Runs whose references are not the same (other encoders, students, teachers) are summarised apart, so that a share of
    full data is one of their own full data.
    """
    blocks: dict[str, list[Group]] = {}
    for group in groups:
        blocks.setdefault(group.first.reference_key, []).append(group)
    rows = []
    for block in blocks.values():
        found = summarise(_distinct_results(block))
        references = {TITLES[name] for name in ("random", "full")}
        rows += [
            replace(row, title=f"{row.title} ({block[0].first.path})")
            if len(blocks) > 1 and row.title in references
            else row
            for row in found
        ]
    return rows


def _distinct_results(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the results of runs, the made ones under their groups' titles, equal ones once."""
    found: dict[str, dict[str, Any]] = {}
    for group in groups:
        for run in group.runs:
            for result in run.results:
                made = result["method"] == run.made
                named = {**result, "method": group.title, "title": group.title} if made else result
                parts = [named[key] for key in ("method", "num_pairs", "protocol", "seeds", "mean_recall")]
                found.setdefault(repr(parts), named)
    return list(found.values())


@dataclass(frozen=True)
class _Field:
    """The rows that are compared under a protocol, by title, and which of them with which."""

    hits: dict[str, RepeatedHits]
    pairs: list[tuple[str, str]]


def _field(groups: Sequence[Group], protocol: EvaluationProtocol) -> _Field:
    """Return the groups' methods, every two of them, and each with the Random of its own runs."""
    made = {group.title: hits_of(group.runs, group.first.made, protocol) for group in groups}
    hits = {title: found for title, found in made.items() if found is not None}
    pairs = list(combinations(hits, 2))
    for group in groups:
        random = hits_of(group.runs, "random", protocol)
        if group.title in made and random is not None and group.first.made != RANDOM_SELECTED:
            sizes = sorted({r["num_pairs"] for run in group.runs for r in run.results if r["method"] == "random"})
            title = f"Random, {' and '.join(map(str, sizes))} pairs"
            if title in hits and not hits[title].is_same(random):
                title = f"{title} ({group.first.path})"
            hits[title] = random
            pairs.append((group.title, title))
    return _Field(hits, pairs)


def _contests(field: _Field, protocol: EvaluationProtocol, resamples: int, generator: torch.Generator) -> list[Contest]:
    drawn = resampled_repeats(list(field.hits.values()), resamples, generator)
    resampled, hits = dict(zip(field.hits, drawn, strict=True)), field.hits
    return [
        Contest(
            a,
            b,
            protocol,
            difference(hits[a].mean_recall, hits[b].mean_recall, resampled[a], resampled[b]),
            (hits[a].distillations, hits[b].distillations),
        )
        for a, b in field.pairs
    ]


def _inside(title: str) -> str:
    """Return a row's title as it is read inside a sentence: what follows its comma in brackets."""
    name, comma, more = title.partition(", ")
    return f"{name} ({more})" if comma else title


def _probability(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"
