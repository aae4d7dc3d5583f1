"""A matrix of students' encoders for one distilled set, measured cell by cell."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from pairstill.config import ImageConfig, TextConfig
from pairstill.distilled import TENSORS, DistilledSet
from pairstill.encoders.named import image_label, named_image, named_text, text_label
from pairstill.encoders.split import EncodedSplit
from pairstill.evaluate.adapt import adapted_set, check_width, has_own_images, has_own_texts
from pairstill.evaluate.crossing import best_crossed
from pairstill.evaluate.measurement import rates_are_chosen
from pairstill.evaluate.protocol import recalls_on
from pairstill.evaluate.results import Cell, cells_of
from pairstill.evaluate.text_map import Batches, TextMap, explained_variance, fit_text_map
from pairstill.model.dual_encoder import Side
from pairstill.pipeline.context import RunContext
from pairstill.pipeline.measuring import distilled_set
from pairstill.provenance import commit
from pairstill.report.matrix import crossing_page
from pairstill.runlog import progress_bar
from pairstill.storage import append_json_line, digest, file_digest, read_json_lines, write_text_atomic

RESULTS = "cross.jsonl"
KEYS = ("seeds", "measured_as", "mean_recall")
"""What every line has."""
PAGE = "cross.md"
MAP_BATCH = 4096


@dataclass(frozen=True)
class Crossing:
    """Which encoders students get.

    Attributes:
        image_encoders: as `image.name`, with options as in `named_image`; none takes the run's own.
        text_encoders: as `text.name`, with options as in `named_text`; none takes the run's own.
        map_text: whether the pairs' text embeddings go through a ridge map into the space of another text encoder.
    """

    image_encoders: tuple[str, ...] = ()
    text_encoders: tuple[str, ...] = ()
    map_text: bool = False


@dataclass(frozen=True)
class _Measured:
    """A cell that is being measured: its context, the set as its encoders need it, and what is recorded of it.

    Attributes:
        context: with the cell's encoders.
        distilled: adapted to them.
        foreign: the sides whose rates validation chooses.
        facts: what describes the cell, the same for every student.
    """

    context: RunContext
    distilled: DistilledSet
    foreign: tuple[Side, ...]
    facts: dict[str, Any]


def cross(context: RunContext, asked: Crossing) -> list[Cell]:
    """Measure every student of every cell that is not measured yet, write the tables, and return the asked-for cells.

    Epochs and rates are chosen on the validation split, the test split is read once, whatever `evaluate.protocol` says.

    Raises:
        ArtifactError: the run has no distilled set.
        ConfigError: an encoder cannot be had, or its text embeddings have another width and no map was asked for.
    """
    config = context.config
    images = [named_image(name, config.image) for name in asked.image_encoders] or [config.image]
    texts = [named_text(name, config.text) for name in asked.text_encoders] or [config.text]
    distilled = distilled_set(context)
    if not asked.map_text:
        for text in texts:
            check_width(distilled, context.with_encoders(config.image, text).text.spec)  # before anything is computed
    _ = context.manifest  # the cells share it
    keys: list[str] = []
    with context.timed("cross"):
        for image in images:
            for text in texts:
                keys.append(_measure_cell(context, distilled, image, text, map_text=asked.map_text))
    results = read_json_lines(context.folder.path / RESULTS, *KEYS)
    cells = cells_of(result for key in dict.fromkeys(keys) for result in results if result["measured_as"] == key)
    write_text_atomic(context.folder.path / PAGE, crossing_page(cells))
    return cells


def _measure_cell(
    context: RunContext, distilled: DistilledSet, image: ImageConfig, text: TextConfig, *, map_text: bool
) -> str:
    """Measure the students of a cell that are not measured yet, and return the digest under which they are kept."""
    path = context.folder.path / RESULTS
    cell = context.with_encoders(image, text)
    foreign_text = not has_own_texts(distilled, cell.text.spec)
    mapped = foreign_text and map_text
    facts = {
        "image": image_label(image, cell.image.spec.size),
        "text": text_label(cell.text.spec.name, cell.text.spec.width),
        "own_images": has_own_images(distilled, cell.image.spec),
        "own_texts": not foreign_text,
        "text_map": "ridge" if mapped else "none",
    }
    key = _measured_as(cell, facts)
    known = {result["seeds"]["student"] for result in read_json_lines(path, *KEYS) if result["measured_as"] == key}
    missing = [student for student in range(context.config.evaluate.num_students) if student not in known]
    if not missing:
        return key
    if foreign_text and not mapped:
        context.console.print(
            f"{facts['text']} is not the text encoder of the pairs, but as wide: its students take the embeddings as "
            "they are, as in the paper's Table 17. With --map-text they are mapped into its space",
            style="yellow",
        )
    measured = _prepared(context, cell, distilled, facts)
    with progress_bar(context.console) as progress:
        task = progress.add_task(f"{facts['image']} + {facts['text']}", total=len(missing), status="")
        for student in missing:
            append_json_line(path, {**_result(measured, student), "measured_as": key})
            progress.advance(task)
    return key


def _prepared(context: RunContext, cell: RunContext, distilled: DistilledSet, facts: dict[str, Any]) -> _Measured:
    text_map = _text_map(context, cell) if facts["text_map"] == "ridge" else None
    if text_map is not None:
        explained = explained_variance(text_map, _both(context.splits.val, cell.splits.val))
        facts = {**facts, "map_explains_validation_captions": round(explained, 4)}
    foreign: list[Side] = []
    if rates_are_chosen(context.config) or not facts["own_images"]:
        foreign.append("image")
    if rates_are_chosen(context.config) or not facts["own_texts"]:
        foreign.append("text")
    adapted = adapted_set(distilled, cell.image.spec, cell.text.spec, text_map)
    return _Measured(cell, adapted, tuple(foreign), facts)


def _text_map(context: RunContext, cell: RunContext) -> TextMap:
    """Return the map from the run's text embeddings to the cell's, fitted on all training captions."""
    return fit_text_map(_both(context.splits.train, cell.splits.train), context.config.evaluate.cross.ridge)


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
        "encoders": cell.encoders(),
        "facts": facts,
        "student": asdict(cell.config.student),
        "cross": asdict(cell.config.evaluate.cross),
        "seed": cell.config.seed,
    }
    return digest(json.dumps(decisive, sort_keys=True))[:16]


def _result(measured: _Measured, student: int) -> dict[str, Any]:
    context, config = measured.context, measured.context.config
    batch_size = config.teacher.batch_size if rates_are_chosen(context.config) else context.bench.batch_size
    best = best_crossed(context.bench, measured.distilled, student, measured.foreign, batch_size)
    recalls = recalls_on(context.factory.build(), best.parameters, context.splits.test)
    return {
        **measured.facts,
        "method": context.method.name,
        "num_pairs": measured.distilled.num_pairs,
        "protocol": "strict",
        "seeds": {"run": config.seed, "student": student},
        **{key: round(value, 4) for key, value in asdict(recalls).items()},
        "mean_recall": round(recalls.mean, 4),
        "validation_mean_recall": round(best.recall, 4),
        "epoch": best.epoch,
        "settings": best.settings,
        "seconds": round(best.seconds, 2),
        "commit": commit(),
    }
