from dataclasses import replace

import pytest
import torch

from pairstill.distilled import DistilledPhase, DistilledSet
from pairstill.encoders.image import ImageSpec
from pairstill.encoders.text import TextSpec
from pairstill.errors import ConfigError
from pairstill.evaluate.adapt import PixelSpace, adapt_images, adapted_set, has_own_images, has_own_texts
from pairstill.evaluate.text_map import TextMap

PLAIN = PixelSpace(4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
HALVES = PixelSpace(4, (0.5, 0.25, 0.0), (0.5, 0.25, 2.0))
IMAGE = ImageSpec("tower", 4, HALVES.mean, HALVES.std, 8, "image-digest")
TEXT = TextSpec("texts", "cls", 64, 3, "text-digest")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def distilled():
    phases = tuple(
        DistilledPhase(noise(n, 3, 4, 4), noise(n, 3), {"matrix": torch.eye(n)}, 0.1, 0.2, ("",) * n, ("",) * n)
        for n in (3, 2)
    )
    image = {**IMAGE.to_json(), "mean": list(IMAGE.mean), "std": list(IMAGE.std)}  # as JSON gives them back
    return DistilledSet(phases, image, TEXT.to_json(), {}, "wbce")


def test_pixels_by_hand_in_another_normalisation():
    images = torch.tensor([2.0, -1.0, 0.25]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    # back to [0, 1]: 2 * 0.5 + 0.5 = 1.5, -1 * 0.25 + 0.25 = 0, 0.25 * 2 + 0 = 0.5; then (x - 0.5) / 0.1
    target = PixelSpace(4, (0.5,) * 3, (0.1,) * 3)
    found = adapt_images(images, HALVES, target)
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([10.0, -5.0, 0.0]))


def test_the_same_space_changes_no_bit_and_pixels_outside_the_range_stay():
    images = 9 * noise(2, 3, 4, 4)
    assert adapt_images(images, HALVES, HALVES) is images
    torch.testing.assert_close(adapt_images(adapt_images(images, HALVES, PLAIN), PLAIN, HALVES), images)


@pytest.mark.parametrize("size", [3, 8])
def test_a_constant_image_stays_constant_whatever_the_size(size):
    found = adapt_images(torch.full((1, 3, 4, 4), 0.7), PLAIN, replace(PLAIN, size=size))
    torch.testing.assert_close(found, torch.full((1, 3, size, size), 0.7))


def test_resizing_is_antialiased():
    # a checkerboard of single pixels is above what half the size can show: only its mean is left inside
    board = (torch.arange(16).reshape(1, -1) + torch.arange(16).reshape(-1, 1)) % 2.0
    found = adapt_images(board.expand(1, 3, 16, 16), replace(PLAIN, size=16), replace(PLAIN, size=8))
    torch.testing.assert_close(found[..., 2:-2, 2:-2], torch.full((1, 3, 4, 4), 0.5), atol=0.03, rtol=0)


def test_a_set_for_its_own_encoders_is_the_set(distilled):
    assert has_own_images(distilled, IMAGE) and has_own_texts(distilled, TEXT)
    found = adapted_set(distilled, IMAGE, TEXT)
    for before, after in zip(distilled.phases, found.phases, strict=True):
        assert torch.equal(before.images, after.images) and torch.equal(before.text_embeddings, after.text_embeddings)


@pytest.mark.parametrize("change", [{"digest": "other"}, {"size": 5}, {"mean": (0.0, 0.0, 0.0)}])
def test_an_image_tower_is_foreign_by_its_weights_its_size_or_its_normalisation(distilled, change):
    assert not has_own_images(distilled, replace(IMAGE, **change))


@pytest.mark.parametrize("change", [{"digest": "other"}, {"pooling": "mean"}, {"max_tokens": 5}])
def test_a_text_tower_is_foreign_by_its_weights_or_how_they_are_used(distilled, change):
    assert not has_own_texts(distilled, replace(TEXT, **change))


def test_a_set_for_other_encoders_keeps_rates_similarities_and_phases(distilled):
    image, text = replace(IMAGE, size=6, digest="x"), replace(TEXT, width=2, digest="y")
    double = TextMap(torch.tensor([[2.0, 0], [0, 2], [0, 0]]).double(), torch.tensor([1.0, 0]).double())
    found = adapted_set(distilled, image, text, double)
    assert found.image_encoder["size"] == 6 and found.text_encoder["width"] == 2 and found.loss == distilled.loss
    for before, after in zip(distilled.phases, found.phases, strict=True):
        assert after.images.shape == (before.num_pairs, 3, 6, 6)
        torch.testing.assert_close(after.text_embeddings, 2 * before.text_embeddings[:, :2] + torch.tensor([1.0, 0]))
        assert after.similarity_factors is before.similarity_factors
        assert (after.inner_lr_image, after.inner_lr_text) == (0.1, 0.2)


def test_another_width_is_refused_with_the_width_that_fits(distilled):
    with pytest.raises(ConfigError, match="text encoders of width 3 fit; for others add --map-text"):
        adapted_set(distilled, IMAGE, replace(TEXT, name="wide", width=5))
