import math

import pytest
import torch
import torch.nn.functional as F

from pairstill.model.losses import cosine_logits, info_nce, weighted_bce


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_cosine_logits_by_hand():
    u = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    v = torch.tensor([[0.0, 2.0], [-5.0, 0.0]])
    expected = torch.tensor([[0.8, -0.6], [0.0, -1.0]]) / 0.07
    torch.testing.assert_close(cosine_logits(u, v), expected)


def test_cosine_logits_ignore_norms():
    u, v = rand(4, 6), rand(3, 6, seed=1)
    scales = torch.tensor([[0.1], [1.0], [7.0], [100.0]], dtype=torch.float64)
    torch.testing.assert_close(cosine_logits(u * scales, v), cosine_logits(u, v))


def info_nce_by_loops(logits):
    size, total = len(logits), 0.0
    for i in range(size):
        along_row = sum(math.exp(logits[i][j]) for j in range(size))
        along_column = sum(math.exp(logits[j][i]) for j in range(size))
        total -= math.log(math.exp(logits[i][i]) / along_row) + math.log(math.exp(logits[i][i]) / along_column)
    return total / size


def test_info_nce_against_loops():
    logits = 3 * rand(5, 5)
    assert info_nce(logits, "sum").item() == pytest.approx(info_nce_by_loops(logits.tolist()), rel=1e-12)
    assert info_nce(logits).item() == pytest.approx(info_nce_by_loops(logits.tolist()) / 2, rel=1e-12)


def test_info_nce_limits():
    assert info_nce(torch.zeros(4, 4)).item() == pytest.approx(math.log(4))
    assert info_nce(torch.zeros(4, 4), "sum").item() == pytest.approx(2 * math.log(4))
    assert info_nce(100 * torch.eye(4)).item() == pytest.approx(0, abs=1e-6)
    assert info_nce(torch.zeros(1, 1)).item() == 0


def test_gradients_of_the_mean_are_half_those_of_the_sum():
    logits = rand(5, 5).requires_grad_()
    mean, added = (torch.autograd.grad(info_nce(logits, directions), logits)[0] for directions in ("mean", "sum"))
    assert torch.equal(mean, added / 2)
    # at equal logits each entry is pulled by its share of a row and of a column: (2 / 4 - 2) / (2 * 4) where they match
    even = torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(info_nce(even), even)
    torch.testing.assert_close(gradient, (torch.full((4, 4), 0.25) - torch.eye(4)).double() / 4)


def test_info_nce_does_not_depend_on_the_order_of_pairs_or_the_name_of_the_sides():
    logits, order = rand(5, 5), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(info_nce(logits[order][:, order]), info_nce(logits))
    torch.testing.assert_close(info_nce(logits.T), info_nce(logits))
    # a permutation of one side alone is another pairing
    assert not torch.isclose(info_nce(logits[order]), info_nce(logits))


def weighted_bce_by_loops(logits, similarity):
    positive, negative = [], []
    for i in range(len(logits)):
        for j in range(len(logits)):
            p, s = 1 / (1 + math.exp(-logits[i][j])), similarity[i][j]
            (positive if s > 0.5 else negative).append(-s * math.log(p) - (1 - s) * math.log(1 - p))
    return sum(sum(entries) / len(entries) for entries in (positive, negative) if entries) / 2


def test_weighted_bce_against_loops():
    similarity = torch.rand(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert 0 < (similarity > 0.5).sum() < 16
    logits = 2 * rand(4, 4)
    expected = weighted_bce_by_loops(logits.tolist(), similarity.tolist())
    assert weighted_bce(logits, similarity).item() == pytest.approx(expected, rel=1e-12)


def test_weighted_bce_against_torch():
    similarity = torch.rand(4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    logits, positive = rand(4, 4), similarity > 0.5
    entries = F.binary_cross_entropy(logits.sigmoid(), similarity, reduction="none")
    expected = (entries[positive].mean() + entries[~positive].mean()) / 2
    torch.testing.assert_close(weighted_bce(logits, similarity), expected)


@pytest.mark.parametrize(("value", "positive"), [(0.3, False), (0.5, False), (0.7, True)])
def test_weighted_bce_when_all_entries_are_on_one_side(value, positive):
    # exactly 0.5 is not above the threshold; the empty side adds nothing, and no 0/0
    logits = rand(3, 3)
    similarity = torch.full((3, 3), value, dtype=torch.float64)
    entries = F.binary_cross_entropy_with_logits(logits, similarity)
    torch.testing.assert_close(weighted_bce(logits, similarity), entries / 2)
    assert bool((similarity > 0.5).all()) is positive


def test_one_strong_positive_counts_as_much_as_all_negatives():
    logits = torch.zeros(10, 10)
    similarity = torch.zeros(10, 10)
    similarity[0, 0] = 1
    torch.testing.assert_close(weighted_bce(logits, similarity), torch.tensor(math.log(2)))
    logits[0, 0] = 50.0  # the one positive is right now: half of the loss is gone
    torch.testing.assert_close(weighted_bce(logits, similarity), torch.tensor(math.log(2) / 2))


def test_gradient_for_the_similarity_by_hand():
    logits = rand(4, 4)
    similarity = torch.rand(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(weighted_bce(logits, similarity), similarity)
    positive = similarity > 0.5
    count = torch.where(positive, positive.sum(), (~positive).sum())
    # the target enters linearly, and the mask not at all
    torch.testing.assert_close(gradient, -logits / (2 * count))


def test_the_mask_is_flat_around_the_threshold_entries():
    # just above and just below 0.5 an entry changes sides: the loss jumps, its slope in s stays -logit / count
    logits = rand(2, 2)
    for value in (0.5 - 1e-9, 0.5 + 1e-9):
        similarity = torch.tensor([[0.9, 0.1], [0.1, value]], dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(weighted_bce(logits, similarity), similarity)
        count = 2 if value > 0.5 else 3
        assert gradient[1, 1].item() == pytest.approx(-logits[1, 1].item() / (2 * count))


@pytest.mark.parametrize("size", [1e3, 1e6])
def test_large_logits_stay_finite(size):
    logits = size * torch.tensor([[1.0, -1.0], [-1.0, -1.0]], requires_grad=True)
    value = weighted_bce(logits, torch.eye(2))
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.item() == pytest.approx(size / 4) and gradient.isfinite().all()


def test_first_and_second_derivatives():
    logits = rand(3, 3).requires_grad_()
    similarity = (torch.eye(3, dtype=torch.float64) * 0.8 + 0.1).requires_grad_()
    for function, inputs in ((weighted_bce, (logits, similarity)), (info_nce, (logits,))):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)
