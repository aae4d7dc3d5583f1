import pytest
import torch

from pairstill.distill.inner_loop import InnerData, InnerRates, draw_batches, inner_step


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("pairs", "batch", "steps", "sizes"),
    [(6, 3, 5, [3, 3, 3, 3, 3]), (5, 3, 5, [3, 2, 3, 2, 3]), (4, 9, 2, [4, 4]), (6, 2, 1, [2])],
)
def test_sizes_of_batches(pairs, batch, steps, sizes):
    assert [len(index) for index in draw_batches(pairs, batch, steps, draw())] == sizes


def test_every_pair_has_its_turn_before_any_has_its_second():
    batches = draw_batches(7, 3, 12, draw())
    rounds = [torch.cat(batches[first : first + 3]).tolist() for first in range(0, 12, 3)]
    assert all(sorted(order) == list(range(7)) for order in rounds)
    assert len({tuple(order) for order in rounds}) > 1


def test_batches_are_those_of_the_generator():
    first, again, other = (torch.cat(draw_batches(9, 4, 3, draw(seed))) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_batch_takes_the_same_rows_and_columns():
    similarity = torch.arange(16.0).reshape(4, 4)
    data = InnerData(torch.arange(4.0).unsqueeze(1), 10 * torch.arange(4.0).unsqueeze(1), similarity)
    images, texts, part = data.batch(torch.tensor([2, 0]))
    assert images.tolist() == [[2], [0]] and texts.tolist() == [[20], [0]]
    assert part.tolist() == [[10, 8], [2, 0]]


def test_a_step_moves_each_side_by_its_own_rate():
    parameters = {name: torch.tensor([1.0, 2.0]) for name in ("image_tower.a", "image_head.a", "text_head.a")}
    gradients = {name: torch.tensor([10.0, -10.0]) for name in parameters}
    moved = inner_step(parameters, gradients, InnerRates(torch.tensor(0.1), torch.tensor(0.2)))
    assert {name: value.tolist() for name, value in moved.items()} == {
        "image_tower.a": [0, 3],
        "image_head.a": [0, 3],
        "text_head.a": [-1, 4],
    }
    assert parameters["text_head.a"].tolist() == [1, 2]


def test_a_pair_that_is_left_alone_costs_no_step():
    batches = draw_batches(7, 3, 6, draw(), least=2)
    assert [len(index) for index in batches] == [3] * 6
    assert len(set(torch.cat(batches).tolist())) == 7  # another pair is left out of the next order
    assert [len(index) for index in draw_batches(8, 3, 3, draw(), least=2)] == [3, 3, 2]
    for one, other in zip(draw_batches(8, 3, 6, draw(), least=2), draw_batches(8, 3, 6, draw()), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match="1 pairs, 3 at a time, make no mini-batch of 2"):
        draw_batches(1, 3, 1, draw(), least=2)
    with pytest.raises(ValueError, match="3 pairs, 1 at a time, make no mini-batch of 2"):
        draw_batches(3, 1, 1, draw(), least=2)
