import pytest
import torch

from pairstill.core.errors import NumericalError
from pairstill.distill.bilevel.matching import matching_losses, squared_distance

START = {"image_tower.a": torch.tensor([0.0, 0.0]), "image_head.a": torch.tensor([1.0]), "text_head.a": torch.zeros(2)}
TARGET = {
    "image_tower.a": torch.tensor([3.0, 0.0]),
    "image_head.a": torch.tensor([5.0]),
    "text_head.a": torch.tensor([0.0, 2.0]),
}
STUDENT = {
    "image_tower.a": torch.tensor([2.0, 1.0]),
    "image_head.a": torch.tensor([3.0]),
    "text_head.a": torch.tensor([1.0, 1.0]),
}


def test_squared_distance_by_hand():
    assert squared_distance(START, TARGET).item() == 9 + 16 + 4
    assert squared_distance(TARGET, START).item() == 29
    assert squared_distance(START, START).item() == 0


def test_per_tower_by_hand():
    losses = matching_losses(STUDENT, START, TARGET, "per_tower")
    # image: (1 + 1 + 4) / (9 + 16); text: (1 + 1) / 4
    assert {part: value.item() for part, value in losses.items()} == pytest.approx({"image": 6 / 25, "text": 0.5})


def test_joint_by_hand():
    losses = matching_losses(STUDENT, START, TARGET, "joint")
    assert {part: value.item() for part, value in losses.items()} == pytest.approx({"joint": 8 / 29})


@pytest.mark.parametrize("kind", ["per_tower", "joint"])
def test_limits(kind):
    assert all(value == 0 for value in matching_losses(TARGET, START, TARGET, kind).values())
    assert all(value == 1 for value in matching_losses(START, START, TARGET, kind).values())


@pytest.mark.parametrize("kind", ["per_tower", "joint"])
def test_the_unit_of_the_parameters_does_not_matter(kind):
    scaled = [{name: 100 * value for name, value in p.items()} for p in (STUDENT, START, TARGET)]
    for part, value in matching_losses(*scaled, kind).items():
        torch.testing.assert_close(value, matching_losses(STUDENT, START, TARGET, kind)[part])


def test_a_side_without_parameters_has_no_part():
    only_text = [{"text_head.a": p["text_head.a"]} for p in (STUDENT, START, TARGET)]
    assert list(matching_losses(*only_text, "per_tower")) == ["text"]


@pytest.mark.parametrize(("kind", "part"), [("per_tower", "text"), ("joint", "joint")])
def test_a_teacher_that_stands_still(kind, part):
    still = {**TARGET, "text_head.a": START["text_head.a"]} if kind == "per_tower" else START
    with pytest.raises(NumericalError, match=f"the teacher's {part} parameters do not move from start to target"):
        matching_losses(STUDENT, START, still, kind)
