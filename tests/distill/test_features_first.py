"""The warm start: features are distilled, then pixels are found that have them."""

import pytest
import torch
from torch import nn

from pairstill.config import FeaturesFirstConfig
from pairstill.core.errors import NumericalError
from pairstill.distill.features_first import FeatureRange, features_of, invert_features, roughness


class Means(nn.Module):
    """The mean of each half of an image, so that the best pixels are known."""

    def forward(self, images):
        return torch.stack([half.mean((1, 2, 3)) for half in images.chunk(2, dim=3)], 1)


def test_pixels_get_the_features_and_a_smooth_change():
    images = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    wanted = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [0.5, -2.0]])
    rough, smooth = (
        invert_features([Means()], images, [wanted], FeaturesFirstConfig(inversion_steps=300, smoothness=weight))
        for weight in (0.0, 1.0)
    )
    torch.testing.assert_close(features_of(Means(), rough), wanted, atol=0.02, rtol=0.02)
    # the first image need only become brighter, which is smooth
    torch.testing.assert_close(features_of(Means(), smooth)[0], wanted[0], atol=0.02, rtol=0.02)
    assert (roughness(smooth - images) < roughness(rough - images))[1:].all()


def test_images_are_found_each_by_itself():
    images, wanted = torch.randn(3, 3, 4, 4), torch.randn(3, 2)
    config = FeaturesFirstConfig(inversion_steps=5)
    together = invert_features([Means()], images, [wanted], config)
    seen = []
    apart = invert_features([Means()], images, [wanted], config, 2, seen.append, chunk=2)
    torch.testing.assert_close(together, apart)
    *steps, ended = seen
    assert [(event.phase, event.step, event.steps) for event in steps] == [(2, step, 10) for step in range(1, 11)]
    assert ended.relative_square_error == pytest.approx((steps[4].error + steps[9].error) / 2)


def test_a_pixel_that_is_not_finite_stops_it():
    with pytest.raises(NumericalError, match="lr_pixels"):
        invert_features([Means()], torch.randn(1, 3, 4, 4), [torch.full((1, 2), torch.nan)], FeaturesFirstConfig())


def test_the_range_is_a_box_around_all_batches():
    found = FeatureRange.of([torch.tensor([[0.0, 5.0], [1.0, 2.0]]), torch.tensor([[3.0, -4.0]])])
    assert (found.lower.tolist(), found.upper.tolist()) == ([0.0, -4.0], [3.0, 5.0])
    features = torch.tensor([[-1.0, 6.0], [2.0, 0.0]], requires_grad=True)
    found.clamp_(features)
    assert features.tolist() == [[0.0, 5.0], [2.0, 0.0]]  # what lies inside stays
    assert features.is_leaf and features.requires_grad
