"""A matrix of students' encoders for one distilled set, measured cell by cell."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from pairstill.config import ImageConfig, TextConfig
from pairstill.distilled import TENSORS, DistilledSet
from pairstill.encoders.split import EncodedSplit
from pairstill.evaluate.ledger import Key, Record
from pairstill.evaluate.measurement import rates_are_chosen
from pairstill.evaluate.protocol import Evaluator
from pairstill.evaluate.rates import Course
from pairstill.model.dual_encoder import Side
from pairstill.run.context import RunContext
from pairstill.run.description import encoders
from pairstill.run.evaluate import about_pairs, distilled_set, key_of, record_of, students_of
from pairstill.run.rates import choose_rates
from pairstill.storage import digest, file_digest, write_text_atomic
from pairstill.studies.cross_encoder.adapt import (
    Encode,
    adapted_set,
    check_width,
    has_mixtures,
    has_own_images,
    has_own_texts,
)
from pairstill.studies.cross_encoder.encoders import image_label, named_image, named_text, text_label
from pairstill.studies.cross_encoder.table import Cell, cells_of, crossing_page
from pairstill.studies.cross_encoder.text_map import (
    Batches,
    TextMap,
    explained_variance,
    fit_left_out,
    fit_text_map,
)

PAGE = "cross.md"
MAP_BATCH = 4096


@dataclass(frozen=True)
class Crossing:
    """Which encoders students get.

    Attributes:
        image_encoders: as `image.name`, with options as in `named_image`; none takes the run's own.
        text_encoders: as `text.name`, with options as in `named_text`; none takes the run's own.
        map_text: whether the pairs' text embeddings go through a ridge map into the space of another text encoder, also
            where the set has a glossary, or mixtures of captions, which would otherwise do without real data.
    """

    image_encoders: tuple[str, ...] = ()
    text_encoders: tuple[str, ...] = ()
    map_text: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """The options of `pairstill evaluate` that ask for it."""
        images = (f"--image_encoder={name}" for name in self.image_encoders)
        texts = (f"--text_encoder={name}" for name in self.text_encoders)
        return (*images, *texts, *(["--map_text"] * self.map_text))


@dataclass(frozen=True)
class _Measured:
    """A cell that is being measured.

    Attributes:
        context: with the cell's encoders; of a text tower whose captions are read through the set's glossary, with the
            set's own text tower, in whose space its captions are then.
        evaluator: what measures its students, under `strict`.
        course: what these learn from: the set as their encoders see it, which is found once for all of them.
        facts: what describes the cell, the same for every student.
    """

    context: RunContext
    evaluator: Evaluator
    course: Course
    facts: dict[str, Any]


def cross(context: RunContext, asked: Crossing) -> list[Cell]:
    """Measure every student of every cell that is not measured yet, write the tables, and return the asked-for cells.

    Epochs and rates are chosen on the validation split, the test split is read once, whatever `evaluate.protocol` says.

    Raises:
        ArtifactError: the run has no distilled set.
        ConfigError: an encoder cannot be had, or its text embeddings have another width and no map was asked for.
    """
    config = context.config
    images = [_image(name, config.images) for name in asked.image_encoders] or list(config.images)
    texts = [named_text(name, config.text) for name in asked.text_encoders] or [config.text]
    distilled = distilled_set(context)
    if not asked.map_text and not distilled.glossary and not has_mixtures(distilled):
        for text in texts:
            check_width(distilled, context.with_encoders(config.image, text).text.spec)  # before anything is computed
    _ = context.manifest  # the cells share it
    keys: list[Key] = []
    with context.timed("cross"):
        for image in images:
            for text in texts:
                keys.append(_measure_cell(context, distilled, image, text, map_text=asked.map_text))
    ledger, asked_for = context.folder.ledger("cross"), {key.measured_as: key for key in keys}.values()
    cells = cells_of(record.facts for key in asked_for for record in ledger.students(key))
    write_text_atomic(context.folder.path / PAGE, crossing_page(cells))
    return cells


def _image(asked: str, own: Sequence[ImageConfig]) -> ImageConfig:
    """Return the settings of an image tower that is asked for; it is one of the run's, if its name is."""
    name = asked.partition(",")[0].partition("=")[0]
    return named_image(asked, next((image for image in own if image.name == name), own[0]))


def _measure_cell(
    context: RunContext, distilled: DistilledSet, image: ImageConfig, text: TextConfig, *, map_text: bool
) -> Key:
    """Measure the students of a cell that are not measured yet, and return the key under which the first is kept."""
    ledger = context.folder.ledger("cross")
    cell = context.with_encoders(image, text)
    foreign_text = not has_own_texts(distilled, cell.text.spec)
    way = "none"
    if foreign_text:
        way = "ridge" if map_text else _way(distilled)
    facts = {
        "image": image_label(image, cell.image.spec.size),
        "text": text_label(cell.text.spec.name, cell.text.spec.width),
        "own_images": has_own_images(distilled, cell.image.spec),
        "own_texts": not foreign_text,
        "text_map": way,
    }
    row, measured_as = context.method.name, _measured_as(cell, facts)
    keys = [
        key_of(cell, "cross", "distilled", student, row=row, measured_as=measured_as)
        for student in students_of(context, "distilled")
    ]
    missing = [key for key in keys if ledger.find(key) is None]
    if not missing:
        return keys[0]
    if foreign_text and way == "none":
        context.warn(
            f"{facts['text']} is not the text encoder of the pairs, but as wide: its students take the embeddings as "
            "they are, as in the paper's Table 17. With --map-text they are mapped into its space"
        )
    measured = _prepared(context, cell, distilled, facts)
    with context.counting(f"{facts['image']} + {facts['text']}", len(missing)) as tally:
        for key in missing:
            ledger.add(_record(measured, key))
            tally.advance()
    return keys[0]


def _way(distilled: DistilledSet) -> str:
    """Return how a set and another text tower come together without real data."""
    if distilled.glossary:
        return "glossary"
    return "captions" if has_mixtures(distilled) else "none"


def _prepared(context: RunContext, cell: RunContext, distilled: DistilledSet, facts: dict[str, Any]) -> _Measured:
    texts: TextMap | Encode | None = None
    students = cell
    if facts["text_map"] == "glossary":
        students, explained = _through_glossary(context, cell, distilled.glossary)
        facts = {**facts, "map_explains_validation_captions": round(explained, 4)}
    elif facts["text_map"] == "captions":
        texts = cell.text.encode
    elif facts["text_map"] == "ridge":
        texts = text_map = _text_map(context, cell)
        explained = explained_variance(text_map, _both(context.splits.val, cell.splits.val))
        facts = {**facts, "map_explains_validation_captions": round(explained, 4)}
    foreign: list[Side] = []
    if not facts["own_images"]:
        foreign.append("image")
    if not facts["own_texts"]:
        foreign.append("text")
    facts = {**facts, **about_pairs(context, "distilled", distilled)}
    adapted = adapted_set(distilled, cell.image.spec, students.text.spec, texts)
    evaluator = replace(students.evaluator, evaluate=replace(cell.config.evaluate, protocol="strict"))
    learned = not rates_are_chosen(cell.config)
    course = evaluator.of_pairs(adapted, tuple(foreign)) if learned else evaluator.at_teachers_rates(adapted)
    return _Measured(students, evaluator, course, facts)


def _through_glossary(context: RunContext, cell: RunContext, glossary: Sequence[str]) -> tuple[RunContext, float]:
    """Return the context of students that see a cell's captions through a glossary, and the variance that it explains.

    Their text side is the map, then the head: behind a linear head that is a linear head of the cell's embeddings.
    """
    text_map = fit_left_out(cell.text.encode(glossary), context.text.encode(glossary))
    explained = explained_variance(text_map, _both(cell.splits.val, context.splits.val))
    own = context.with_encoders(cell.config.image, context.config.text)
    val, test = (
        replace(images, text_embeddings=texts.text_embeddings.mapped(text_map))
        for images, texts in ((own.splits.val, cell.splits.val), (own.splits.test, cell.splits.test))
    )
    return own.with_splits(replace(own.splits, val=val, test=test)), explained


def _text_map(context: RunContext, cell: RunContext) -> TextMap:
    """Return the map from the run's text embeddings to the cell's, fitted once on all training captions."""
    ridge = context.config.evaluate.cross.ridge
    key = ("text map", context.config.data, context.config.text, cell.config.text, ridge)
    return context.memo.get(key, lambda: fit_text_map(_both(context.splits.train, cell.splits.train), ridge))


def _both(own: EncodedSplit, other: EncodedSplit) -> Batches:
    def batches() -> Iterable[tuple[Tensor, Tensor]]:
        for start in range(0, own.num_captions, MAP_BATCH):
            stop = start + MAP_BATCH
            yield own.text_embeddings.slice(start, stop), other.text_embeddings.slice(start, stop)

    return batches


def _measured_as(cell: RunContext, facts: dict[str, Any]) -> str:
    """Return a digest of all that decides a cell's numbers."""
    decisive = {
        "pairs": file_digest(cell.folder.distilled / TENSORS),
        "encoders": encoders(cell),
        "facts": facts,
        "student": asdict(cell.config.student),
        "cross": asdict(cell.config.evaluate.cross),
        "rates": [cell.config.evaluate.rate_scales, cell.config.evaluate.scale_learned],
        "seed": cell.config.seed,
    }
    return digest(json.dumps(decisive, sort_keys=True))[:16]


def _record(measured: _Measured, key: Key) -> Record:
    context, course = measured.context, measured.course
    assert key.student is not None
    (outcome,) = measured.evaluator.measure(course, key.student, choose_rates(context, course, key))
    return record_of(context, key, measured.facts, outcome)
