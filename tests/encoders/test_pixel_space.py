from dataclasses import replace

import pytest
import torch
from torch import nn

from pairstill.encoders.image import ImageSpec
from pairstill.encoders.pixel_space import PixelSpace, TowerOfSpace, adapt_images

PLAIN = PixelSpace(4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
HALVES = PixelSpace(4, (0.5, 0.25, 0.0), (0.5, 0.25, 2.0))


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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


def test_the_common_space_is_plain_pixels_as_large_as_the_largest():
    small = ImageSpec("small", 4, HALVES.mean, HALVES.std, 8, "a")
    assert PixelSpace.common([small, replace(small, size=6)]) == replace(PLAIN, size=6)


def test_a_tower_sees_images_of_another_space_as_its_own_and_gradients_lead_back():
    class Rows(nn.Module):
        def forward(self, images):
            return images.square().flatten(1)

    own = replace(HALVES, size=3)
    tower = TowerOfSpace(Rows(), own, PLAIN)
    images = noise(2, 3, 4, 4).double().requires_grad_()
    assert torch.equal(tower(images), Rows()(adapt_images(images, PLAIN, own)))
    assert torch.autograd.gradcheck(tower, [images])
