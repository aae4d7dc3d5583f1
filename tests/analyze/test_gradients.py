"""Numbers from inner products of gradients, by hand."""

import pytest
import torch

from pairstill.analyze.geometry import gram
from pairstill.analyze.gradients import (
    GradientShapes,
    cosine_rows,
    norm_rows,
    off_diagonal_mean,
    plane_rows,
    summarise_gradients,
)

# original: at right angles, of norm 1 and 2; shortcut: one direction, of norm 1 and 3
ROWS = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0], [3.0, 0.0]])


@pytest.fixture
def shapes() -> GradientShapes:
    inner = gram(ROWS)
    return GradientShapes((0, 1), torch.stack([inner, 4 * inner]), inner)


def test_cosines_do_not_know_how_long_gradients_are(shapes: GradientShapes) -> None:
    assert shapes.cosines("original").tolist() == [[[1.0, 0.0], [0.0, 1.0]]] * 2
    assert shapes.cosines("shortcut").tolist() == [[[1.0, 1.0], [1.0, 1.0]]] * 2
    rows = list(cosine_rows(shapes))
    assert len(rows) == 8 and rows[-2]["cosine"] == 1.0 and rows[1]["deviation_over_experts"] == 0.0


def test_norms_are_averaged_over_experts(shapes: GradientShapes) -> None:
    found = {(row["path"], row["start"]): (row["norm"], row["deviation_over_experts"]) for row in norm_rows(shapes)}
    assert found["original", 1] == (3.0, 1.0)  # 2 and 4
    assert found["shortcut", 1] == (4.5, 1.5)


def test_the_plane_holds_everything_of_gradients_in_a_plane_and_says_where_none_is(shapes: GradientShapes) -> None:
    rows = list(plane_rows(shapes))
    places = torch.tensor([[row["first_component"], row["second_component"]] for row in rows])
    with_none = torch.cat([ROWS, torch.zeros(1, 2)])
    torch.testing.assert_close(torch.cdist(places, places), torch.cdist(with_none, with_none))
    assert rows[-1]["path"] == "no gradient" and rows[-1]["start"] is None


def test_the_summary_is_what_the_figures_come_down_to(shapes: GradientShapes) -> None:
    found = summarise_gradients(shapes)
    assert (found["original"]["mean_cosine_between_starts"], found["shortcut"]["mean_cosine_between_starts"]) == (0, 1)
    assert found["shortcut"]["norm_last_over_first"] == pytest.approx(3.0)
    assert off_diagonal_mean(torch.tensor([[[1.0, 0.2], [0.4, 1.0]], [[1.0, 0.6], [0.8, 1.0]]])) == pytest.approx(0.5)
