import pytest

from pairstill.report.tables import RECALL_TITLES
from pairstill.studies.cross_encoder.table import HEADER, cell_columns, cells_of, crossing_page, matrix_rows


def result(image, text, recall, **facts):
    return {
        "measured_as": f"{image}/{text}",
        "image": image,
        "text": text,
        "own_images": image == "A",
        "own_texts": text == "C",
        **dict.fromkeys(RECALL_TITLES, recall),
        "mean_recall": recall,
        **facts,
    }


@pytest.fixture
def cells():
    return cells_of(
        [
            result("A", "C", 30.0),
            result("B", "C", 10.0),
            result("A", "C", 32.0),
            result("A", "D", 20.0, map_explains_validation_captions=0.456),
            result("A", "E", 5.0),
            result("A", "F", 6.0, text_map="glossary", map_explains_validation_captions=0.25),
        ]
    )


def test_cells_are_means_and_spreads_over_students(cells):
    assert [(cell.image, cell.text, cell.students) for cell in cells] == [
        ("A *", "C *", 2),
        ("B", "C *", 1),
        ("A *", "D", 1),
        ("A *", "E", 1),
        ("A *", "F", 1),
    ]
    assert cells[0].mean == 31.0 and cells[0].spread == pytest.approx(2**0.5) and cells[1].spread is None
    assert [cell.text_map for cell in cells] == ["", "", "ridge, explains 46 %", "none", "glossary, explains 25 %"]


def test_the_matrix_has_a_row_for_every_image_tower_and_a_hole_where_nothing_was_measured(cells):
    header, rows = matrix_rows(cells)
    assert header[1:] == ["C *", "D", "E", "F"]
    assert rows == [["A *", "31.0 ± 1.4", "20.0", "5.0", "6.0"], ["B", "10.0", "", "", ""]]


def test_the_page_holds_the_matrix_and_every_recall(cells):
    page = crossing_page(cells).splitlines()
    assert "| A * | 31.0 ± 1.4 | 20.0 | 5.0 | 6.0 |" in page
    assert "| " + " | ".join(cell_columns(cells[2])) + " |" in page
    assert all(len(cell_columns(cell)) == len(HEADER) for cell in cells)
