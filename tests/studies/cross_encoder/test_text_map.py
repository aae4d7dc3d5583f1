import numpy as np
import pytest
import torch

from pairstill.studies.cross_encoder.text_map import explained_variance, fit_text_map

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
