"""What a run's gain over Random is made of: its students once more, each time without one part."""

import json
from dataclasses import dataclass, replace

from pairstill.core.rng import make_generator
from pairstill.data.augment import CropAndFlip
from pairstill.distilled import DistilledSet
from pairstill.evaluate.bootstrap import image_hits
from pairstill.evaluate.ledger import Record
from pairstill.evaluate.measurement import made_name, measured_as
from pairstill.evaluate.rates import Course
from pairstill.evaluate.stored import StoredRanks
from pairstill.run.context import RunContext
from pairstill.run.evaluate import about_pairs, distilled_set, key_of, random_pairs, record_of
from pairstill.run.rates import choose_rates, course_on_pairs
from pairstill.storage import digest
from pairstill.studies.gain_attribution.shares import (
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

RESAMPLES = 10_000
REFERENCES = (RANDOM, RANDOM_AUGMENTED)
"""The variants that do not see the run's own pairs."""


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
    context.config.check_one_tower("`pairstill shares`")
    context = _strict(context)
    distilled = distilled_set(context)
    ledger, students = context.folder.ledger("shares"), range(context.config.evaluate.num_students)
    variants: dict[str, Variant] = {}
    courses = _courses(context, distilled)
    with context.timed("shares"), context.counting("Students", len(courses) * len(students)) as tally:
        for name, course in courses.items():
            seen, records = RANDOM if name in REFERENCES else DISTILLED, []
            about, measured = about_pairs(context, seen, distilled), _measured_as(context, name)
            for student in students:
                tally.say(f"{name}, student {student + 1}")
                key = key_of(context, "shares", seen, student, row=name, measured_as=measured)
                record = ledger.find(key)
                if record is None or not (context.folder.path / record.facts["ranks"]).is_file():
                    (outcome,) = context.evaluator.measure(course, student, choose_rates(context, course, key))
                    record = record_of(context, key, about, outcome)
                    ledger.add(record)
                records.append(record)
                tally.advance()
            variants[name] = _variant(context, records)
    return ShareReport(variants, shares_of(variants, RESAMPLES, make_generator("shares")))


def _strict(context: RunContext) -> RunContext:
    """Return the context with students reported by `strict` alone, and Random at equal bytes."""
    evaluate = context.config.evaluate
    references = replace(evaluate.references, random_pairs=None)
    return context.with_config(
        replace(context.config, evaluate=replace(evaluate, protocol="strict", references=references))
    )


def _courses(context: RunContext, distilled: DistilledSet) -> dict[str, Course]:
    """Return how students of each variant that applies to these pairs learn."""
    evaluator, pairs = context.evaluator, random_pairs(context)
    courses = {
        DISTILLED: course_on_pairs(context.config, evaluator, distilled),
        RANDOM: evaluator.random(pairs),
    }
    if distilled.loss == "wbce":
        courses[IDENTITY_WBCE] = evaluator.of_pairs(with_identity(distilled))
        courses[IDENTITY_INFONCE] = evaluator.at_teachers_rates(distilled)
    if context.tower is None:
        augmented = replace(evaluator, augment=CropAndFlip())
        courses[AUGMENTED] = course_on_pairs(context.config, augmented, distilled)
        courses[RANDOM_AUGMENTED] = augmented.random(pairs)
    return courses


def _measured_as(context: RunContext, name: str) -> str:
    """Return a digest of the settings that decide a variant's numbers."""
    rows = [measured_as(context.config, row, "strict") for row in (made_name(context.config), "random")]
    return digest(json.dumps([name, *rows, context.config.seed]))[:16]


def _variant(context: RunContext, records: list[Record]) -> Variant:
    stored = [StoredRanks.load(context.folder.path / record.facts["ranks"]) for record in records]
    hits = image_hits([one.ranks for one in stored], stored[0].caption_owner)
    return Variant(tuple(record.facts["mean_recall"] for record in records), hits)
