import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pairstill.core.errors import NumericalError
from pairstill.distill.bilevel.inner_loop import InnerData, InnerRates, at_rates, draw_batches, inner_step
from pairstill.distill.bilevel.solvers.base import FiniteSteps


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


class Operations(TorchDispatchMode):
    """Counts what is computed."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func not in (torch.ops.aten.detach.default, torch.ops.aten.alias.default)
        return func(*args, **(kwargs or {}))


def test_a_step_is_as_many_operations_for_many_tensors_as_for_few():
    def operations(layers):
        values = {f"{side}.{n}": torch.ones(2) for n in range(layers) for side in ("text_head", "image_tower")}
        finite = FiniteSteps()
        with Operations() as found:
            moved = inner_step(values, values, InnerRates(torch.tensor(0.5), torch.tensor(0.25)))
            finite.add(values)
        assert list(moved) == list(values) == list(at_rates(values, InnerRates(torch.ones(()), torch.ones(()))))
        assert all(value.tolist() == [0.5 if name[0] == "i" else 0.75] * 2 for name, value in moved.items())
        return found.count

    assert operations(9) == operations(1)


@pytest.mark.parametrize("bad", [[float("nan"), 1.0], [float("inf"), -float("inf")], [-float("inf"), 0.0]])
def test_what_is_not_finite_is_found_whatever_it_adds_up_to(bad):
    finite = FiniteSteps()
    finite.add({"image_tower.a": torch.tensor([3e38, -3e37]), "text_head.a": torch.zeros(2)})
    finite.check()
    finite.add({"image_tower.a": torch.ones(2), "text_head.a": torch.tensor(bad)})
    with pytest.raises(NumericalError, match="gradient of text_head.a is not finite at inner step 1"):
        finite.check()


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
