"""Recall by the students' encoders: a row for each pair of encoders, and a matrix of the means."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from pairstill.core.formatting import with_spread
from pairstill.evaluate.results import RECALL_KEYS
from pairstill.report.tables import RECALL_TITLES, SIZE_HEADER, markdown_table, size_cells

HEADER = ["image encoder", "text encoder", "text map", *RECALL_TITLES.values(), "mean", *SIZE_HEADER, "students"]

NOTES = """\
Recalls on the test split in %. For every student the validation split chose the epoch, and once for all students of a
cell the rates of each side whose encoder is not the pairs' own (marked *), or of all sides with
`evaluate.scale_learned`. Distilled images were resized and normalised anew, photos that are kept were decoded anew.
Texts that are mixtures of captions were encoded anew. With a glossary, captions were mapped into the space of the set's
texts, by a ridge regression on the captions that the set holds. A ridge map of the texts was fitted on the real
training captions, which are more than the distilled pairs. The share of variance that a map explains is on validation
captions. "none" between different text encoders: the embeddings were taken as they are.
"""


@dataclass(frozen=True)
class Cell:
    """Students with one pair of encoders.

    Attributes:
        image: the image tower, with * if it is the pairs' own.
        text: the text tower, likewise.
        text_map: how the pairs' text embeddings came into its space.
        recalls: mean of each recall over the students, in percent, by key.
        mean: mean over students of the mean recall.
        spread: standard deviation of the mean recall over students, or None for a single one.
        students: number of students.
        bytes: what the pairs take by the paper's convention; None for results of old.
        disk_bytes: what they take on disk, likewise.
    """

    image: str
    text: str
    text_map: str
    recalls: Mapping[str, float]
    mean: float
    spread: float | None
    students: int
    bytes: int | None = None
    disk_bytes: int | None = None


def cells_of(results: Iterable[Mapping[str, Any]]) -> list[Cell]:
    """Group results (one mapping per student) by their encoders, in the order in which they first appear."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault(result["measured_as"], []).append(result)
    return [_cell(members) for members in groups.values()]


def _text_map(result: Mapping[str, Any]) -> str:
    """Return in words how the pairs' texts came into another encoder's space."""
    if result.get("text_map") == "captions":
        return "captions encoded anew"
    explained = result.get("map_explains_validation_captions")
    name = "glossary" if result.get("text_map") == "glossary" else "ridge"
    return "none" if explained is None else f"{name}, explains {100 * explained:.0f} %"


def _cell(members: Sequence[Mapping[str, Any]]) -> Cell:
    first, means = members[0], [member["mean_recall"] for member in members]
    own = first["own_texts"]
    return Cell(
        image=first["image"] + " *" * first["own_images"],
        text=first["text"] + " *" * own,
        text_map="" if own else _text_map(first),
        recalls={key: mean(member[key] for member in members) for key in RECALL_KEYS},
        mean=mean(means),
        spread=stdev(means) if len(means) > 1 else None,
        students=len(members),
        bytes=first.get("bytes"),
        disk_bytes=first.get("disk_bytes"),
    )


def cell_columns(cell: Cell) -> list[str]:
    """Return the columns of a cell, in the order of `HEADER`."""
    recalls = [f"{cell.recalls[key]:.1f}" for key in RECALL_TITLES]
    found = [*recalls, with_spread(cell.mean, cell.spread), *size_cells(cell.bytes, cell.disk_bytes)]
    return [cell.image, cell.text, cell.text_map, *found, str(cell.students)]


def matrix_rows(cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the matrix of mean recalls: rows image towers, columns text towers."""
    texts, images = (list(dict.fromkeys(values)) for values in ((c.text for c in cells), (c.image for c in cells)))
    found = {(cell.image, cell.text): with_spread(cell.mean, cell.spread) for cell in cells}
    rows = [[image, *(found.get((image, text), "") for text in texts)] for image in images]
    return ["image \\ text encoder", *texts], rows


def crossing_page(cells: Sequence[Cell]) -> str:
    """Return the matrix and the recalls as Markdown."""
    matrix = markdown_table(*matrix_rows(cells))
    return f"{NOTES}\n{matrix}\n{markdown_table(HEADER, [cell_columns(cell) for cell in cells], words=3)}"
