import io

import pytest
import torch
from PIL import Image

from pairstill.exchange.png import PngCost, clipped_share, png, through_png, to_bytes

ENCODER = {"mean": [0.5, 0.25, 0.0], "std": [0.25, 0.5, 1.0]}


def test_bytes_by_hand():
    # x std + mean: 0.5 + 0.25 * 2 = 1; 0.25 - 0.5 * 1 < 0; 127.6 / 255 is rounded
    image = torch.tensor([2.0, -1.0, 127.6 / 255]).reshape(3, 1, 1)
    assert to_bytes(image, ENCODER).flatten().tolist() == [255, 0, 128]


def test_a_png_file_holds_these_bytes():
    image = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    with Image.open(io.BytesIO(png(image, ENCODER))) as shown:
        assert shown.size == (5, 4)
        read = torch.frombuffer(bytearray(shown.tobytes()), dtype=torch.uint8).reshape(4, 5, 3).permute(2, 0, 1)
    assert torch.equal(read, to_bytes(image, ENCODER))


def test_through_png_moves_inner_values_by_half_a_step_and_keeps_the_rest(make, same):
    exact = make()
    read = through_png(exact)
    std = torch.tensor(exact.image_encoder["std"]).reshape(3, 1, 1)
    mean = torch.tensor(exact.image_encoder["mean"]).reshape(3, 1, 1)
    for before, after in zip(exact.phases, read.phases, strict=True):
        unit = before.images * std + mean
        inside = (unit >= 0) & (unit <= 1)
        assert ((after.images - before.images).abs() * std)[inside].max() <= 0.5 / 255 + 1e-6
        assert torch.allclose(after.images * std + mean, unit.clamp(0, 1), atol=0.5 / 255 + 1e-6)
        assert torch.equal(after.text_embeddings, before.text_embeddings)
        assert after.similarity_factors is before.similarity_factors
    assert same(through_png(read), read)  # what is PNG already stays


def test_clipped_share_by_hand(make):
    exact = make()
    assert clipped_share(through_png(exact)) == 0
    for phase in exact.phases:
        phase.images.zero_()
    exact.phases[1].images[0, 0, 0, 0] = 3.0  # one of 8 x 60 values
    assert clipped_share(exact) == 1 / 480


def test_cost_by_hand():
    cost = PngCost("strict", (30.0, 32.0), (29.0, 30.0))
    assert cost.loss == 1.5 and cost.spread == pytest.approx(0.5**0.5)
    assert PngCost("strict", (30.0,), (31.0,)).spread is None
    assert PngCost.from_json(cost.to_json()) == cost
