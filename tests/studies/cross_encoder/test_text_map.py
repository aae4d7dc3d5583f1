import numpy as np
import pytest
import torch

from pairstill.studies.cross_encoder.text_map import explained_variance, fit_left_out, fit_text_map

ROWS, FROM, TO = 40, 5, 3


@pytest.fixture
def rows():
    """Embeddings far from zero, the target linear in the source but for noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, FROM, generator=generator) * torch.tensor([1.0, 2, 3, 4, 5]) + 100
    y = x @ torch.randn(FROM, TO, generator=generator) + 0.5 * torch.randn(ROWS, TO, generator=generator)
    return x, y


def whole(x, y):
    return lambda: [(x, y)]


def test_without_strength_it_is_least_squares(rows):
    x, y = rows
    ones = np.c_[x.double().numpy(), np.ones(ROWS)]
    expected, *_ = np.linalg.lstsq(ones, y.double().numpy(), rcond=None)
    found = fit_text_map(whole(x, y), 0.0)
    np.testing.assert_allclose(found.weight, expected[:-1], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.offset, expected[-1], rtol=1e-6)
    np.testing.assert_allclose(found(x), ones @ expected, rtol=1e-5)


def test_with_strength_it_is_least_squares_with_added_rows(rows):
    x, y = (value.double().numpy() for value in rows)
    strength = 0.3
    x_centred, y_centred = x - x.mean(0), y - y.mean(0)
    added = np.sqrt(strength * (x_centred**2).mean() * ROWS) * np.eye(FROM)
    expected, *_ = np.linalg.lstsq(np.r_[x_centred, added], np.r_[y_centred, np.zeros((FROM, TO))], rcond=None)
    found = fit_text_map(whole(*rows), strength)
    np.testing.assert_allclose(found.weight, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.offset, y.mean(0) - x.mean(0) @ expected, rtol=1e-6)


def test_batches_do_not_matter(rows):
    x, y = rows
    found = fit_text_map(lambda: zip(x.split(7), y.split(7), strict=True), 0.1)
    expected = fit_text_map(whole(x, y), 0.1)
    torch.testing.assert_close(found.weight, expected.weight)
    torch.testing.assert_close(found.offset, expected.offset)


def test_without_end_the_strength_leaves_the_mean(rows):
    x, y = rows
    found = fit_text_map(whole(x, y), 1e12)
    torch.testing.assert_close(found(x), y.mean(0).expand(ROWS, TO), rtol=1e-4, atol=1e-4)


def test_the_unit_of_the_source_does_not_matter(rows):
    x, y = rows
    small, large = fit_text_map(whole(x, y), 0.2), fit_text_map(whole(1000 * x, y), 0.2)
    torch.testing.assert_close(large(1000 * x), small(x), rtol=1e-5, atol=1e-4)


def test_explained_variance(rows):
    x, y = rows
    exact, mean = fit_text_map(whole(x, 2 * x[:, :TO] + 1), 0.0), fit_text_map(whole(x, y), 1e12)
    assert explained_variance(exact, whole(x, 2 * x[:, :TO] + 1)) == pytest.approx(1.0)
    assert explained_variance(mean, whole(x, y)) == pytest.approx(0.0, abs=1e-6)
    fitted = fit_text_map(whole(x, y), 0.0)
    expected = 1 - float((y - fitted(x)).var(0, unbiased=False).sum() / y.var(0, unbiased=False).sum())
    assert explained_variance(fitted, lambda: zip(x.split(9), y.split(9), strict=True)) == pytest.approx(
        expected, abs=1e-4
    )


def by_hand(x, y, penalty):
    """Return weight and offset of a ridge regression with an offset that is free, by its normal equations."""
    centred = x - x.mean(0)
    weight = torch.linalg.solve(
        centred.T @ centred + penalty * torch.eye(x.shape[1]).double(), centred.T @ (y - y.mean(0))
    )
    return weight, y.mean(0) - x.mean(0) @ weight


def left_out_error(x, y, penalty):
    """Return the summed square error on each row of the map that was fitted without it."""
    total = 0.0
    for i in range(len(x)):
        others = torch.arange(len(x)) != i
        weight, offset = by_hand(x[others], y[others], penalty)
        total += float((y[i] - x[i] @ weight - offset).square().sum())
    return total


@pytest.mark.parametrize("noise", [0.01, 3.0, 100.0])
def test_the_strength_is_the_best_on_captions_left_out_one_by_one(rows, noise):
    x, y = (value.double() for value in rows)
    x = x[:12] - 100 * (noise > 1)  # far from zero, and near
    y = y[:12] + noise * torch.randn(12, TO, generator=torch.Generator().manual_seed(1)).double()
    strengths = (0.001, 0.03, 1.0, 30.0)
    unit = float((x - x.mean(0)).square().mean()) * len(x)
    penalty = min((s * unit for s in strengths), key=lambda penalty: left_out_error(x, y, penalty))
    weight, offset = by_hand(x, y, penalty)
    found = fit_left_out(x, y, strengths)
    torch.testing.assert_close(found.weight, weight)
    torch.testing.assert_close(found.offset, offset)


def test_a_map_of_few_captions_is_that_of_many_batches_at_the_same_strength(rows):
    found, expected = fit_left_out(*rows, strengths=(0.3,)), fit_text_map(whole(*rows), 0.3)
    torch.testing.assert_close(found.weight, expected.weight)
    torch.testing.assert_close(found.offset, expected.offset)


def test_captions_that_are_all_the_same_map_to_the_mean():
    y = torch.tensor([[1.0], [3.0], [5.0]])
    assert fit_left_out(torch.ones(3, 2), y)(torch.ones(1, 2)).tolist() == [[3.0]]
