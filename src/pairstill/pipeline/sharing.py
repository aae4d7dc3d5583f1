"""What a run's gain over Random is made of: its students once more, each time without one part."""

import json
from collections.abc import Callable
from copy import copy
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
from pairstill.pipeline.measuring import distilled_set, measure_pairs, random_pairs
from pairstill.pipeline.parts import Parts
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


def shares(parts: Parts) -> ShareReport | None:
    """Measure what the gain is made of, under `strict` and with Random at equal bytes, whatever the settings say.

    The main rank does this alone: the others leave, and return None.
    """
    if not parts.leave():
        return None
    parts = _strict(parts)
    distilled = distilled_set(parts)
    path, students = parts.folder.path / RESULTS, range(parts.config.evaluate.num_students)
    pairs = stored_pairs(parts.folder.distilled)
    known = {
        (line["measured_as"], line["student"]): line
        for line in read_json_lines(path, *KEYS)
        if line.get("pairs") in (None, pairs)
    }
    variants: dict[str, Variant] = {}
    measures = _measures(parts, distilled)
    with parts.timed("shares"), progress_bar(parts.console) as progress:
        task = progress.add_task("Students", total=len(measures) * len(students), status="")
        for name, measure in measures.items():
            key, lines = _key(parts, name), []
            for student in students:
                progress.update(task, status=f"{name}, student {student + 1}")
                line = known.get((key, student))
                if line is None or not (parts.folder.path / line["ranks"]).is_file():
                    line = _keep(parts, name, student, measure)
                    append_json_line(path, line)
                lines.append(line)
                progress.advance(task)
            variants[name] = _variant(parts, lines)
    return ShareReport(variants, shares_of(variants, RESAMPLES, generator("shares")))


def _strict(parts: Parts) -> Parts:
    """Return the parts of the same run, with students reported by `strict` alone, and Random at equal bytes."""
    other, evaluate = copy(parts), parts.config.evaluate
    references = replace(evaluate.references, random_pairs=None)
    other.config = replace(parts.config, evaluate=replace(evaluate, protocol="strict", references=references))
    other.__dict__.pop("bench", None)
    return other


def _measures(parts: Parts, distilled: DistilledSet) -> dict[str, Measure]:
    """Return what measures a student of each variant that applies to these pairs."""
    bench, pairs = parts.bench, random_pairs(parts)
    measures: dict[str, Measure] = {
        DISTILLED: lambda student: measure_pairs(parts, distilled, student),
        RANDOM: lambda student: bench.random(pairs, student),
    }
    if distilled.loss == "wbce":
        plain = with_identity(distilled)
        measures[IDENTITY_WBCE] = lambda student: bench.distilled(plain, student)
        measures[IDENTITY_INFONCE] = lambda student: bench.at_best_rates(distilled, student)
    if parts.config.image.trainable:
        augmented = copy(parts)
        augmented.__dict__["bench"] = replace(bench, augment=CropAndFlip())
        measures[AUGMENTED] = lambda student: measure_pairs(augmented, distilled, student)
        measures[RANDOM_AUGMENTED] = lambda student: augmented.bench.random(pairs, student)
    return measures


def _key(parts: Parts, name: str) -> str:
    rows = [measured_as(parts.config, row, "strict") for row in (made_name(parts.config), "random")]
    return digest(json.dumps([name, *rows, parts.config.seed]))[:16]


def _keep(parts: Parts, name: str, student: int, measure: Measure) -> dict[str, Any]:
    """Measure a student, store its ranks, and return the line that names their file."""
    (outcome,) = measure(student)
    pairs = None if name in REFERENCES else stored_pairs(parts.folder.distilled)
    key = digest(_key(parts, name), *([pairs] if pairs else []))[:16]
    ranks = f"{parts.folder.ranks.name}/shares-{name}-{student}-{key}.safetensors"
    StoredRanks(outcome.ranks, parts.splits.test.caption_owner).save(parts.folder.path / ranks)
    return {
        "variant": name,
        "student": student,
        "measured_as": _key(parts, name),
        "pairs": pairs,
        "mean_recall": round(outcome.recalls.mean, 4),
        "validation_mean_recall": outcome.validation,
        "epoch": outcome.epoch,
        "settings": outcome.settings,
        "seconds": round(outcome.seconds, 2),
        "ranks": ranks,
    }


def _variant(parts: Parts, lines: list[dict[str, Any]]) -> Variant:
    stored = [StoredRanks.load(parts.folder.path / line["ranks"]) for line in lines]
    hits = image_hits([one.ranks for one in stored], stored[0].caption_owner)
    return Variant(tuple(line["mean_recall"] for line in lines), hits)
