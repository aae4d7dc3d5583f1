"""Recall by the students' encoders: a row for each pair of encoders, and a matrix of the means."""

from collections.abc import Sequence

from pairstill.core.formatting import with_spread
from pairstill.evaluate.results import Cell
from pairstill.report.tables import RECALL_TITLES, markdown_table

HEADER = ["image encoder", "text encoder", "text map", *RECALL_TITLES.values(), "mean", "students"]

NOTES = """\
Recalls on the test split in %. For every student the validation split chose the epoch, and the rates of each side whose
encoder is not the pairs' own (marked *). Distilled images were resized and normalised anew. A ridge map of the texts
was fitted on the real training captions, which are more than the distilled pairs; the share of variance that it
explains is on validation captions. "none" between different text encoders: the embeddings were taken as they are.
"""


def cell_columns(cell: Cell) -> list[str]:
    """Return the columns of a cell, in the order of `HEADER`."""
    recalls = [f"{cell.recalls[key]:.1f}" for key in RECALL_TITLES]
    return [cell.image, cell.text, cell.text_map, *recalls, with_spread(cell.mean, cell.spread), str(cell.students)]


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
