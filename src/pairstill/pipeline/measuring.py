"""The evaluation of a run: students on its pairs and on the references, each measured once."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pairstill.distilled import DistilledSet
from pairstill.errors import ArtifactError
from pairstill.evaluate.protocol import Outcome
from pairstill.pipeline.parts import Parts
from pairstill.report.tables import RANDOM_SELECTED, Row, markdown, summarise
from pairstill.runfolder import commit
from pairstill.runlog import peak_memory_bytes, progress_bar
from pairstill.storage import digest, write_text_atomic


def evaluate(parts: Parts) -> list[Row]:
    """Measure every asked-for row that is not measured yet, write the table, and return its rows.

    The main rank does this alone: the others leave, and return no rows.
    """
    if not parts.leave():
        return []
    measure_missing(parts, parts.config.evaluate.methods)
    rows = summarise(current_results(parts))
    write_text_atomic(parts.folder.path / "results.md", markdown(rows))
    return rows


def measure_missing(parts: Parts, methods: Sequence[str]) -> None:
    """Measure every student of these methods that is not measured yet."""
    distilled = distilled_set(parts) if "distilled" in methods else None
    known = {(r["method"], r["seeds"]["student"]) for r in current_results(parts)}
    jobs = [
        (method, student)
        for method in methods
        for student in range(parts.config.evaluate.num_students)
        if (row_name(parts, method), student) not in known
    ]
    with parts.timed("evaluate"), progress_bar(parts.console) as progress:
        task = progress.add_task("Students", total=len(jobs), status="")
        for method, student in jobs:
            progress.update(task, status=f"{method}, student {student + 1}")
            result = _measure(parts, method, student, distilled)
            parts.folder.add_result(result)
            parts.folder.metrics.write("student", **{k: result[k] for k in ("method", "protocol", "mean_recall")})
            progress.advance(task)


def current_results(parts: Parts) -> list[dict[str, Any]]:
    """Return the results that were measured as the settings say now; others stay in the file."""
    return [r for r in parts.folder.results() if r.get("measured_as") == _measured_as(parts, r["method"])]


def _measured_as(parts: Parts, method: str) -> str:
    """Return a digest of all that may change in a run's folder and decides a method's numbers."""
    evaluate = parts.config.evaluate
    decisive: list[Any] = [evaluate.protocol]
    if method != "full":
        decisive.append(asdict(parts.config.student))
    if method != row_name(parts, "distilled") or rates_are_chosen(parts):
        decisive.append(asdict(evaluate.references))
    return digest(json.dumps(decisive))[:16]


def distilled_set(parts: Parts) -> DistilledSet:
    """Return the run's pairs.

    Raises:
        ArtifactError: there are none yet.
    """
    if not parts.folder.is_distilled():
        raise ArtifactError(
            f"{parts.folder.distilled} holds no distilled set; run `pairstill distill` with these settings first, "
            "or leave `distilled` out of evaluate.methods"
        )
    return DistilledSet.load(parts.folder.distilled)


def measure_pairs(parts: Parts, distilled: DistilledSet, student: int) -> Outcome:
    """Measure one of the run's students on a set of pairs, by the rule of the run's method."""
    measure = parts.bench.at_best_rates if rates_are_chosen(parts) else parts.bench.distilled
    return measure(distilled, student)


def _measure(parts: Parts, method: str, student: int, distilled: DistilledSet | None) -> dict[str, Any]:
    train = parts.splits.train
    pixels = 3 * parts.image.spec.size**2
    pair_bytes = 4 * (pixels + parts.text.spec.width)
    pairs = parts.config.evaluate.references.random_pairs or _budget(parts)
    match method:
        case "distilled":
            assert distilled is not None
            outcome = measure_pairs(parts, distilled, student)
            num_pairs, size = distilled.num_pairs, distilled.storage_bytes
        case "random":
            outcome = parts.bench.random(pairs, student)
            num_pairs, size = pairs, pairs * pair_bytes
        case _:
            outcome = parts.bench.full(student)
            num_pairs = train.num_captions
            size = 4 * (pixels * train.num_images + parts.text.spec.width * train.num_captions)
    return _result(parts, row_name(parts, method), num_pairs, size, student, outcome)


def _result(parts: Parts, method: str, num_pairs: int, size: int, student: int, outcome: Outcome) -> dict[str, Any]:
    stages = ("teach", "distill", "select") if method == row_name(parts, "distilled") else ()
    return {
        "method": method,
        "num_pairs": num_pairs,
        "protocol": parts.config.evaluate.protocol,
        "measured_as": _measured_as(parts, method),
        "seeds": {"run": parts.config.seed, "student": student},
        **{key: round(value, 4) for key, value in asdict(outcome.recalls).items()},
        "mean_recall": round(outcome.recalls.mean, 4),
        "validation_mean_recall": None if outcome.validation is None else round(outcome.validation, 4),
        "epoch": outcome.epoch,
        "settings": outcome.settings,
        "seconds": round(outcome.seconds, 2),
        "stage_seconds": {stage: seconds for stage in stages if (seconds := parts.folder.seconds(stage)) > 0},
        "bytes": size,
        "peak_memory_bytes": peak_memory_bytes(parts.device.type),
        "config": str(parts.folder.path / "config.yaml"),
        "commit": commit(),
    }


def rates_are_chosen(parts: Parts) -> bool:
    """Return whether the pairs come without learned rates, so that validation chooses each student's."""
    return parts.method.rule is not None or parts.config.distill.objective != "trajectory"


def row_name(parts: Parts, method: str) -> str:
    """Return the name under which results of a row are kept."""
    if method != "distilled":
        return method
    return RANDOM_SELECTED if parts.method.name == "random" else parts.method.name


def _budget(parts: Parts) -> int:
    """Return the whole pairs that the distilled set's storage is worth."""
    pairs = parts.config.distill.num_pairs
    pair = 3 * parts.image.spec.size**2 + parts.text.spec.width
    extra = sum(_similarity_scalars(parts, phase.num_pairs) for phase in parts.config.distill.phases)
    return -(-(pairs * pair + extra) // pair)


def _similarity_scalars(parts: Parts, pairs: int) -> int:
    if parts.config.distill.loss == "infonce":
        return 2
    similarity = parts.config.distill.similarity
    return 2 + (pairs**2 if similarity.kind == "full" else pairs * (1 + 2 * similarity.rank) + 1)
