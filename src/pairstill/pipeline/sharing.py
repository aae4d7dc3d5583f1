"""What a run's gain over Random is made of: its students once more, each time without one part."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pairstill.data.augment import CropAndFlip
from pairstill.distilled import DistilledSet, stored_pairs
from pairstill.evaluate.bootstrap import image_hits
from pairstill.evaluate.measurement import made_name, measured_as
from pairstill.evaluate.protocol import Outcome
from pairstill.evaluate.shares import (
    AUGMENTED,
    DISTILLED,
    IDENTITY_INFONCE,
    IDENTITY_WBCE,
    RANDOM,
    RANDOM_AUGMENTED,
    Shares,
    Variant,
    shares_of,
    with_identity,
)
from pairstill.evaluate.stored import StoredRanks
from pairstill.pipeline.context import RunContext
from pairstill.pipeline.measuring import distilled_set, measure_pairs, random_pairs
from pairstill.rng import generator
from pairstill.runlog import progress_bar
from pairstill.storage import append_json_line, digest, read_json_lines

RESULTS = "shares.jsonl"
KEYS = ("measured_as", "student", "ranks", "mean_recall")
"""What every line has."""
RESAMPLES = 10_000
REFERENCES = (RANDOM, RANDOM_AUGMENTED)
"""The variants that do not see the run's own pairs."""
Measure = Callable[[int], tuple[Outcome, ...]]


@dataclass(frozen=True)
class ShareReport:
    """The variants of a run's students, and what they say.

    Attributes:
        variants: by name.
        shares: what the gain is made of.
    """

    variants: dict[str, Variant]
    shares: Shares


def shares(context: RunContext) -> ShareReport:
    """Measure what the gain is made of, under `strict` and with Random at equal bytes, whatever the settings say."""
    context = _strict(context)
    distilled = distilled_set(context)
    path, students = context.folder.path / RESULTS, range(context.config.evaluate.num_students)
    pairs = stored_pairs(context.folder.distilled)
    known = {
        (line["measured_as"], line["student"]): line
        for line in read_json_lines(path, *KEYS)
        if line.get("pairs") in (None, pairs)
    }
    variants: dict[str, Variant] = {}
    measures = _measures(context, distilled)
    with context.timed("shares"), progress_bar(context.console) as progress:
        task = progress.add_task("Students", total=len(measures) * len(students), status="")
        for name, measure in measures.items():
            key, lines = _key(context, name), []
            for student in students:
                progress.update(task, status=f"{name}, student {student + 1}")
                line = known.get((key, student))
                if line is None or not (context.folder.path / line["ranks"]).is_file():
                    line = _keep(context, name, student, measure)
                    append_json_line(path, line)
                lines.append(line)
                progress.advance(task)
            variants[name] = _variant(context, lines)
    return ShareReport(variants, shares_of(variants, RESAMPLES, generator("shares")))


def _strict(context: RunContext) -> RunContext:
    """Return the context with students reported by `strict` alone, and Random at equal bytes."""
    evaluate = context.config.evaluate
    references = replace(evaluate.references, random_pairs=None)
    return context.with_config(
        replace(context.config, evaluate=replace(evaluate, protocol="strict", references=references))
    )


def _measures(context: RunContext, distilled: DistilledSet) -> dict[str, Measure]:
    """Return what measures a student of each variant that applies to these pairs."""
    bench, pairs = context.bench, random_pairs(context)
    measures: dict[str, Measure] = {
        DISTILLED: lambda student: measure_pairs(context.config, bench, distilled, student),
        RANDOM: lambda student: bench.random(pairs, student),
    }
    if distilled.loss == "wbce":
        plain = with_identity(distilled)
        measures[IDENTITY_WBCE] = lambda student: bench.distilled(plain, student)
        measures[IDENTITY_INFONCE] = lambda student: bench.at_best_rates(distilled, student)
    if context.config.image.trainable:
        augmented = replace(bench, augment=CropAndFlip())
        measures[AUGMENTED] = lambda student: measure_pairs(context.config, augmented, distilled, student)
        measures[RANDOM_AUGMENTED] = lambda student: augmented.random(pairs, student)
    return measures


def _key(context: RunContext, name: str) -> str:
    rows = [measured_as(context.config, row, "strict") for row in (made_name(context.config), "random")]
    return digest(json.dumps([name, *rows, context.config.seed]))[:16]


def _keep(context: RunContext, name: str, student: int, measure: Measure) -> dict[str, Any]:
    """Measure a student, store its ranks, and return the line that names their file."""
    (outcome,) = measure(student)
    pairs = None if name in REFERENCES else stored_pairs(context.folder.distilled)
    key = digest(_key(context, name), *([pairs] if pairs else []))[:16]
    ranks = f"{context.folder.ranks.name}/shares-{name}-{student}-{key}.safetensors"
    StoredRanks(outcome.ranks, context.splits.test.caption_owner).save(context.folder.path / ranks)
    return {
        "variant": name,
        "student": student,
        "measured_as": _key(context, name),
        "pairs": pairs,
        "mean_recall": round(outcome.recalls.mean, 4),
        "validation_mean_recall": outcome.validation,
        "epoch": outcome.epoch,
        "settings": outcome.settings,
        "seconds": round(outcome.seconds, 2),
        "ranks": ranks,
    }


def _variant(context: RunContext, lines: list[dict[str, Any]]) -> Variant:
    stored = [StoredRanks.load(context.folder.path / line["ranks"]) for line in lines]
    hits = image_hits([one.ranks for one in stored], stored[0].caption_owner)
    return Variant(tuple(line["mean_recall"] for line in lines), hits)
