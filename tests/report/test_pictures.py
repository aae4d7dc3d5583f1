import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from pairstill.report.pictures import change_gain, change_pixels, data_uri, heat_map


def decoded(uri):
    head, _, content = uri.partition(",")
    return head, Image.open(io.BytesIO(base64.b64decode(content)))


def test_small_pictures_are_kept_exactly_and_large_ones_are_scaled_down():
    pixels = torch.randint(256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    head, image = decoded(data_uri(pixels, 160))
    assert head == "data:image/webp;base64"
    assert torch.equal(torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1), pixels)
    large = data_uri(pixels.repeat(1, 8, 8), 96)
    assert decoded(large)[1].size == (96, 96)


def test_a_change_of_the_gains_inverse_fills_the_range():
    before = torch.full((1, 3, 10, 10), 0.5)
    after = before + 0.25
    gain = change_gain(before, after)
    assert gain == pytest.approx(4.0)
    assert change_pixels(before, after, gain).unique().tolist() == [255]
    assert change_pixels(after, before, gain).unique().tolist() == [0]


def test_without_a_change_the_picture_is_grey():
    images = torch.rand(2, 3, 4, 4)
    assert change_pixels(images, images, change_gain(images, images)).unique().tolist() == [128]


def test_a_change_that_cannot_be_seen_does_not_count():
    white = torch.ones(1, 3, 4, 4)
    assert change_pixels(white, white + 0.5, 2.0).unique().tolist() == [128]


def test_the_colours_of_a_matrix_end_where_its_off_diagonal_entries_do():
    matrix = torch.eye(3) + torch.tensor([[0.0, 0.2, 0.0], [-0.1, 0.0, 0.0], [0.0, 0.0, 0.0]])
    heat = heat_map(matrix)
    assert heat.limit == pytest.approx(0.2)
    image = np.array(decoded(heat.picture)[1].convert("RGB")).astype(int)
    assert (image[0, 1] == image[0, 0]).all(), "the largest entry has the colour of all beyond it"
    assert image[0, 2].min() > 230, "zero is white"
    assert image[1, 0, 2] > image[1, 0, 1], "below zero is violet"
    assert image[0, 1, 0] > image[0, 1, 2], "above is orange"


@pytest.mark.parametrize("matrix", [torch.eye(4), torch.ones(1, 1)])
def test_a_matrix_without_anything_off_the_diagonal_has_colours(matrix):
    assert heat_map(matrix).limit == 1.0
