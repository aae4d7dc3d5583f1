"""The evaluation of a run: students on its pairs and on the references, each measured once."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pairstill.config import TrajectoryConfig
from pairstill.core.errors import ArtifactError
from pairstill.core.provenance import commit
from pairstill.distilled import DistilledSet, stored_pairs
from pairstill.evaluate.ledger import Key, Kind, Record
from pairstill.evaluate.measurement import (
    CLOSED_FORM,
    ON_DISK_JPEG,
    READ_FROM_DISK,
    closed_form_name,
    current,
    made_name,
    measured_as,
    on_disk_name,
)
from pairstill.evaluate.protocol import Outcome
from pairstill.evaluate.rates import Course
from pairstill.evaluate.results import Row, summarise
from pairstill.evaluate.stored import StoredRanks
from pairstill.events import StudentMeasured
from pairstill.report.tables import markdown
from pairstill.run.context import RunContext
from pairstill.run.description import encoders
from pairstill.run.log import peak_memory_bytes
from pairstill.run.on_disk import disk_bytes, jpeg_quality, pairs_of_bytes, real_bytes, real_pair_bytes, stored_form
from pairstill.run.rates import choose_rates, course_on_pairs
from pairstill.storage import digest, write_text_atomic

MADE = frozenset({"distilled", CLOSED_FORM, *READ_FROM_DISK})
"""The entries of evaluate.methods whose students see the run's own pairs."""


def evaluate(context: RunContext) -> list[Row]:
    """Measure every asked-for row that is not measured yet, write the table, and return its rows."""
    for tower in context.towers:
        measure_missing(tower, context.config.evaluate.methods)
    rows = summarise(current_results(context))
    write_text_atomic(context.folder.path / "results.md", markdown(rows))
    return rows


def measure_missing(context: RunContext, methods: Sequence[str]) -> None:
    """Measure every student of these methods that is not measured yet, or whose ranks are not there."""
    distilled = distilled_set(context) if MADE & set(methods) else None
    known = _known(context)
    jobs = _jobs(context, methods, known)
    courses: dict[str, Course] = {}  # one for all students of a row, so that its features are computed once
    if any(method == "random" for method, _ in jobs):
        _tell_if_few(context)
    with context.timed("evaluate"), context.counting("Students", len(jobs)) as tally:
        for method, student in jobs:
            tally.say(f"{method}, student {student + 1}")
            about = about_pairs(context, method, distilled)
            if method != CLOSED_FORM and method not in courses:
                courses[method] = course_of(context, method, distilled)
            for outcome in measure_student(context, method, student, distilled, courses.get(method)):
                if (row_name(context, method), outcome.protocol, student) not in known:
                    _keep(context, method, student, about, outcome)
            tally.advance()


def is_finished(context: RunContext) -> bool:
    """Return whether the run's pairs are made and every student is measured, so that nothing is left to compute."""
    return context.folder.is_distilled() and not any(
        _jobs(tower, context.config.evaluate.methods, _known(tower)) for tower in context.towers
    )


def _known(context: RunContext) -> set[tuple[str, str, int]]:
    """Return the rows, protocols and students that are measured, and whose ranks are there."""
    measured = (result for result in current_results(context) if _has_ranks(context, result))
    return {(result["method"], result["protocol"], result["seeds"]["student"]) for result in measured}


def _jobs(
    context: RunContext, methods: Sequence[str], known: Collection[tuple[str, str, int]]
) -> list[tuple[str, int]]:
    """Return the methods and students that are still to be measured by any protocol."""
    return [
        (method, student)
        for method in methods
        for student in students_of(context, method)
        if any((row_name(context, method), p, student) not in known for p in context.config.evaluate.protocols)
    ]


def students_of(context: RunContext, method: str) -> range:
    """Return the numbers of a row's students; nothing is drawn for one in closed form, and it is as good as many."""
    return range(1 if method == CLOSED_FORM else context.config.evaluate.num_students)


def unmeasured(context: RunContext) -> tuple[int, int]:
    """Return how many measurements are missing, and how many are asked for: one per row, protocol and student."""
    if context.config.towers:
        missing, wanted = zip(*map(unmeasured, context.towers), strict=True)
        return sum(missing), sum(wanted)
    evaluate = context.config.evaluate
    wanted = {
        (row_name(context, method), protocol, student)
        for method in evaluate.methods
        for protocol in evaluate.protocols
        for student in students_of(context, method)
    }
    known = {(result["method"], result["protocol"], result["seeds"]["student"]) for result in current_results(context)}
    return len(wanted - known), len(wanted)


def current_results(context: RunContext) -> list[dict[str, Any]]:
    """Return the results that were measured as the settings say now, of the run's pairs; others stay in the file.

    Those of several image towers come tower by tower.
    """
    if context.config.towers:
        return [result for tower in context.towers for result in current_results(tower)]
    tower = None if context.one_of is None else context.one_of.label
    results = [result for result in context.folder.results() if result.get("tower") == tower]
    return current(context.config, results, stored_pairs(context.folder.distilled))


def _has_ranks(context: RunContext, result: dict[str, Any]) -> bool:
    return "ranks" in result and (context.folder.path / result["ranks"]).is_file()


def distilled_set(context: RunContext) -> DistilledSet:
    """Return the run's pairs.

    Raises:
        ArtifactError: there are none yet.
    """
    if not context.folder.is_distilled():
        raise ArtifactError(
            f"{context.folder.distilled} holds no distilled set; run `pairstill distill` with these settings first, "
            "or leave `distilled` out of evaluate.methods"
        )
    return DistilledSet.load(context.folder.distilled)


def measure_student(
    context: RunContext, method: str, student: int, distilled: DistilledSet | None, course: Course | None = None
) -> tuple[Outcome, ...]:
    """Measure one student, by every protocol that is asked for; its course is known or made anew."""
    evaluator = context.evaluator
    if method == CLOSED_FORM:
        assert distilled is not None
        return evaluator.closed_form(as_seen(context, distilled), context.closed_form)
    course = course or course_of(context, method, distilled)
    return evaluator.measure(course, student, choose_rates(context, course, strict_key(context, method)))


def course_of(context: RunContext, method: str, distilled: DistilledSet | None) -> Course:
    """Return how students of a row learn."""
    match method:
        case "distilled":
            assert distilled is not None
            return course_on_pairs(context.config, context.evaluator, as_seen(context, distilled))
        case "on_disk" | "on_disk_jpeg":
            assert distilled is not None
            stored = as_seen(context, stored_form(context, distilled, _quality(context, method, distilled)))
            return course_on_pairs(context.config, context.evaluator, stored)
        case "random":
            return context.evaluator.random(random_pairs(context))
        case "random_on_disk":
            return context.evaluator.random(random_on_disk(context))
        case _:
            return context.evaluator.full()


def _quality(context: RunContext, method: str, distilled: DistilledSet) -> int | None:
    """Return the quality of JPEG of the form in which students of a row see the pairs; None is PNG."""
    return jpeg_quality(context, distilled) if method == ON_DISK_JPEG else None


def as_seen(context: RunContext, distilled: DistilledSet) -> DistilledSet:
    """Return the run's pairs as students of the context's image tower see them."""
    return distilled if context.one_of is None else distilled.of_tower(context.one_of.number)


def encoders_digest(context: RunContext) -> str:
    """Return the digest of the encoders and heads that students have."""
    return digest(json.dumps(encoders(context), sort_keys=True))[:16]


def record_of(context: RunContext, key: Key, about: Mapping[str, Any], outcome: Outcome) -> Record:
    """Store the ranks of a student, and return its record, which names their file.

    Args:
        context: the run, with the student's encoders.
        key: what tells the measurement from others.
        about: what else is said of the student.
        outcome: of the student.
    """
    ranks = f"{key.file_name}.safetensors"
    StoredRanks(outcome.ranks, context.splits.test.caption_owner).save(context.folder.ranks / ranks)
    facts = {
        **about,
        **{key: round(value, 4) for key, value in asdict(outcome.recalls).items()},
        "mean_recall": round(outcome.recalls.mean, 4),
        "validation_mean_recall": None if outcome.validation is None else round(outcome.validation, 4),
        "epoch": outcome.epoch,
        "settings": outcome.settings,
        "test_reads": outcome.test_reads,
        "rates": outcome.choice.to_json(),
        "rates_tried": outcome.choice.rates_tried,
        "seconds": round(outcome.seconds, 2),
        "peak_memory_bytes": peak_memory_bytes(context.device),
        "ranks": f"{context.folder.ranks.name}/{ranks}",
        "config": str(context.folder.path / "config.yaml"),
        "commit": commit(),
    }
    return Record.new(key, facts)


def _keep(context: RunContext, method: str, student: int, about: Mapping[str, Any], outcome: Outcome) -> None:
    """Add a student's result to the run's."""
    row = row_name(context, method)
    measured = measured_as(context.config, row, outcome.protocol)
    key = key_of(context, "retrieval", method, student, row=row, measured_as=measured)
    record = record_of(context, replace(key, protocol=outcome.protocol), about, outcome)
    # first the event: one whose result a kill prevents comes again, but no result lacks its event
    told = {name: record.facts[name] for name in ("method", "protocol", "measured_as", "mean_recall")}
    context.emit(StudentMeasured(student=student, tower=record.facts.get("tower"), **told))
    context.folder.ledger("retrieval").add(record)


def strict_key(context: RunContext, method: str) -> Key:
    """Return the key of a row's first student under `strict`, whatever the settings say."""
    row = row_name(context, method)
    return key_of(context, "retrieval", method, 0, row=row, measured_as=measured_as(context.config, row, "strict"))


def key_of(context: RunContext, kind: Kind, method: str, student: int, *, row: str, measured_as: str) -> Key:
    """Return the key of a measurement under `strict`, with all its parts.

    Args:
        context: the run, with the student's encoders.
        kind: what is measured.
        method: the entry of `evaluate.methods` that has the pairs which the student sees.
        student: its number.
        row: the name of the row.
        measured_as: digest of what decides the numbers.
    """
    made = method in MADE
    return Key(
        kind=kind,
        row=row,
        protocol="strict",
        student=student,
        measured_as=measured_as,
        seeds={
            "run": context.config.seed,
            "teachers": context.teachers_seed if made else None,
            "distillation": context.config.distillation_seed if made else None,
        },
        pairs=stored_pairs(context.folder.distilled) if made else None,
        test_data=context.manifest.split_fingerprint("test"),
        encoders=encoders_digest(context),
    )


def about_pairs(context: RunContext, method: str, distilled: DistilledSet | None) -> dict[str, Any]:
    """Return what a record says of the pairs that a student was trained on: how many, how large, how long to make."""
    train, pixels, quality = context.splits.train, 3 * context.pixel_space.size**2, None
    made = method in MADE
    match method:
        case "distilled" | "closed_form" | "on_disk" | "on_disk_jpeg":
            assert distilled is not None
            quality = _quality(context, method, distilled)
            pairs, size, disk = distilled.num_pairs, distilled.storage_bytes, disk_bytes(context, distilled, quality)
        case "random" | "random_on_disk":
            pairs = random_pairs(context) if method == "random" else random_on_disk(context)
            size = pairs * 4 * (pixels + context.text.spec.width)
            disk = round(pairs * real_pair_bytes(context))
        case _:
            pairs = train.num_captions
            size = 4 * (pixels * train.num_images + context.text.spec.width * train.num_captions)
            disk = real_bytes(context)
    return {
        **({} if context.one_of is None else {"tower": context.one_of.label}),
        "num_pairs": pairs,
        "bytes": size,
        "disk_bytes": disk,
        **({"jpeg_quality": quality} if method == ON_DISK_JPEG else {}),
        "stage_seconds": context.folder.all_seconds("teach", "phases", "distill", "select") if made else {},
    }


def row_name(context: RunContext, method: str) -> str:
    """Return the name under which results of a row are kept."""
    match method:
        case "distilled":
            return made_name(context.config)
        case "closed_form":
            return closed_form_name(context.config)
        case "on_disk" | "on_disk_jpeg":
            return on_disk_name(context.config, method)
        case _:
            return method


def random_pairs(context: RunContext) -> int:
    """Return how many real pairs Random has: those that the distilled set is worth, or all images if they are fewer."""
    return context.config.evaluate.references.random_pairs or min(budget(context), context.splits.train.num_images)


def random_on_disk(context: RunContext) -> int:
    """Return how many photos with a caption take as many bytes on disk as the run's pairs, two at least."""
    return pairs_of_bytes(context, disk_bytes(context, distilled_set(context)))


def _tell_if_few(context: RunContext) -> None:
    """Say that Random has fewer pairs than the distilled set is worth, if the training split has no more images."""
    have, worth = random_pairs(context), budget(context)
    if context.config.evaluate.references.random_pairs is None and have < worth:
        context.warn(f"Random has all {have} training images, one pair each: the distilled set is worth {worth}")


def budget(context: RunContext) -> int:
    """Return the whole pairs that the images, texts and similarities of the distilled set are worth.

    The two rates of a phase do not count: students on real pairs have rates as well, and two numbers are no pair.
    """
    pairs = context.config.distill.num_pairs
    pair = 3 * context.pixel_space.size**2 + context.text.spec.width
    extra = sum(_similarity_scalars(context, phase.num_pairs) for phase in context.config.distill.phases)
    return -(-(pairs * pair + extra) // pair)


def _similarity_scalars(context: RunContext, pairs: int) -> int:
    distill = context.config.distill
    if not isinstance(distill, TrajectoryConfig) or distill.loss == "infonce":
        return 0
    similarity = distill.similarity
    return pairs**2 if similarity.kind == "full" else pairs * (1 + 2 * similarity.rank) + 1
