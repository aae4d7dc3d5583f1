"""A student of a run's own pairs, trained as in the evaluation, as a folder of its own."""

from dataclasses import replace
from pathlib import Path
from typing import assert_never

from pairstill.core.errors import ConfigError
from pairstill.evaluate.results import made_title
from pairstill.exchange.sentence_transformers import save_text_side
from pairstill.exchange.settings import Form
from pairstill.exchange.student import Student, save_student
from pairstill.run.context import RunContext
from pairstill.run.evaluate import distilled_set, students_of
from pairstill.studies.downstream.students import chosen_student


def trained_student(context: RunContext, number: int = 0) -> Student:
    """Return a student of the run's pairs at the epoch that validation chose, trained now or before.

    Raises:
        ArtifactError: the run has no distilled set.
        ConfigError: there is no student of this number, or the pairs are for several image towers.
    """
    context.config.check_one_tower("`pairstill student` (as `pairstill search`)")
    if number not in students_of(context, "distilled"):
        raise ConfigError(f"student is {number}; the run has {context.config.evaluate.num_students}, numbered from 0")
    strict = context.with_config(replace(context.config, evaluate=replace(context.config.evaluate, protocol="strict")))
    distilled = distilled_set(strict)
    chosen = chosen_student(strict, "distilled", number, distilled)
    about = {"title": made_title(strict.config), "num_pairs": distilled.num_pairs, "student": number}
    return Student(
        image=strict.image,
        text=strict.text,
        model=strict.factory.build(),
        parameters=chosen.parameters,
        tower=strict.tower,
        captions=strict.config.data.captions,
        facts={**about, **chosen.facts},
        background=strict.config.data.background,
    )


def keep_student(context: RunContext, out: Path, number: int, form: Form = "pairstill") -> Student:
    """Write a student of the run's pairs to a folder and return it; see `save_student` and `save_text_side`."""
    student, config = trained_student(context, number), context.config
    match form:
        case "pairstill":
            save_student(student, config.image, config.text, config.heads, out)
        case "sentence_transformers":
            save_text_side(student, config.text, config.heads, out)
        case _:
            assert_never(form)
    return student
