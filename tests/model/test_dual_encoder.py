import math

import pytest
import torch
from torch import nn

from pairstill.core.errors import ConfigError
from pairstill.model.dual_encoder import (
    DropoutMasks,
    DualEncoder,
    LinearHead,
    ResidualHead,
    count,
    side_of,
    split_sides,
)


def gelu(x):
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


@pytest.mark.parametrize("mask", [None, [[0.0, 2.0, 2.0]]])
def test_residual_head_by_hand(mask):
    torch.manual_seed(0)
    head = ResidualHead(2, 3).double()
    nn.init.normal_(head.norm.weight), nn.init.normal_(head.norm.bias)
    x = torch.tensor([[0.3, -1.2]], dtype=torch.float64)
    w1, b1 = head.project.weight.tolist(), head.project.bias.tolist()
    w2, b2 = head.mix.weight.tolist(), head.mix.bias.tolist()
    h = [sum(w * v for w, v in zip(row, x[0].tolist(), strict=True)) + b for row, b in zip(w1, b1, strict=True)]
    update = [sum(w * gelu(v) for w, v in zip(row, h, strict=True)) + b for row, b in zip(w2, b2, strict=True)]
    scale = [1.0] * 3 if mask is None else mask[0]
    added = [a + u * m for a, u, m in zip(h, update, scale, strict=True)]
    mean = sum(added) / 3
    deviation = math.sqrt(sum((a - mean) ** 2 for a in added) / 3 + 1e-5)
    gain, bias = head.norm.weight.tolist(), head.norm.bias.tolist()
    expected = [(a - mean) / deviation * g + b for a, g, b in zip(added, gain, bias, strict=True)]
    found = head(x, None if mask is None else torch.tensor(mask, dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64))


def test_a_mask_of_zeros_leaves_the_shortcut_alone():
    head = ResidualHead(4, 5)
    x = torch.randn(3, 4)
    torch.testing.assert_close(head(x, torch.zeros(3, 5)), head.norm(head.project(x)))


def test_linear_head_has_no_dropout():
    head = LinearHead(4, 5)
    x = torch.randn(3, 4)
    torch.testing.assert_close(head(x, torch.zeros(3, 5)), x @ head.project.weight.T + head.project.bias)


def test_sides_are_independent_and_may_be_left_out():
    model = DualEncoder(None, LinearHead(4, 5), ResidualHead(6, 5))
    x, y = torch.randn(3, 4), torch.randn(3, 6)
    u, v = model(x, y)
    assert u.shape == v.shape == (3, 5)
    only_u, no_v = model(x, None)
    no_u, only_v = model(None, y)
    assert no_u is None and no_v is None
    assert torch.equal(only_u, u) and torch.equal(only_v, v)


def test_masks_reach_their_own_side():
    model = DualEncoder(None, ResidualHead(4, 5), ResidualHead(6, 5))
    x, y = torch.randn(3, 4), torch.randn(3, 6)
    u, v = model(x, y)
    zeros = torch.zeros(3, 5)
    masked_u, same_v = model(x, y, DropoutMasks(zeros, None))
    same_u, masked_v = model(x, y, DropoutMasks(None, zeros))
    assert torch.equal(same_u, u) and torch.equal(same_v, v)
    assert not torch.equal(masked_u, u) and not torch.equal(masked_v, v)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"image_tower.conv", "text_head.project", "text_head.mix", "text_head.norm"}),
        ({"kind": "linear"}, {"image_tower.conv", "text_head.project"}),
        (
            {"image": True, "width": 3, "kind": "linear"},
            {"image_tower.conv", "image_head.project", "text_head.project"},
        ),
        ({"trainable": False, "kind": "linear"}, {"image_head.project", "text_head.project"}),
    ],
)
def test_parameters_are_what_can_learn(make_factory, settings, expected):
    parameters = make_factory(**settings).initial_parameters(0)
    assert {name.rsplit(".", 1)[0] for name in parameters} == expected
    assert not any(value.requires_grad for value in parameters.values())


def test_same_seed_same_heads_other_seed_other_heads_one_tower(make_factory):
    factory = make_factory(image=True, width=3)
    first, again, other = (factory.initial_parameters(*seed) for seed in ((0, "a"), (0, "a"), (0, "b")))
    assert all(torch.equal(first[name], again[name]) for name in first)
    for name in first:
        if name.startswith("image_tower."):
            assert torch.equal(first[name], other[name])
            assert torch.equal(first[name], factory.encoder.tower.state_dict()[name.removeprefix("image_tower.")])
        elif "norm" not in name:
            assert not torch.equal(first[name], other[name])


def test_initial_parameters_are_copies_and_disturb_nothing(make_factory):
    factory = make_factory()
    before = torch.get_rng_state()
    first = factory.initial_parameters(0)
    assert torch.equal(torch.get_rng_state(), before)
    for value in first.values():
        value.fill_(9.0)
    assert not any((value == 9.0).any() for value in factory.initial_parameters(0).values())


def test_the_model_is_in_evaluation_mode(make_factory):
    assert not any(layer.training for layer in make_factory().build().modules())


def test_width_is_the_towers_or_the_heads(make_factory):
    assert make_factory().width == 5
    assert make_factory(width=5).width == 5
    assert make_factory(image=True, width=3).width == 3
    with pytest.raises(ConfigError, match="heads.width is 3 but without an image head .* width 5"):
        _ = make_factory(width=3).width


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def test_masks_are_drawn_from_the_generator_alone_and_scaled(make_factory):
    factory = make_factory(image=True, width=64, dropout=0.25)
    masks, again, other = (factory.draw_masks(50, draw(seed)) for seed in (0, 0, 1))
    for side in ("image", "text"):
        mask = getattr(masks, side)
        assert mask.shape == (50, 64)
        torch.testing.assert_close(mask.unique(), torch.tensor([0, 4 / 3]))
        # 3200 draws: the share kept is within 5 standard deviations of 0.75, and the mean near 1
        assert abs((mask > 0).double().mean() - 0.75) < 5 * (0.25 * 0.75 / 3200) ** 0.5
        assert torch.equal(getattr(again, side), mask)
        assert not torch.equal(getattr(other, side), mask)
    assert not torch.equal(masks.image, masks.text)


def test_no_masks_without_dropout(make_factory):
    assert make_factory(dropout=0.0).draw_masks(3, draw()) is None
    assert make_factory(kind="linear", dropout=0.5).draw_masks(3, draw()) is None
    masks = make_factory(dropout=0.5).draw_masks(3, draw())
    assert masks.image is None and masks.text.shape == (3, 5)


@pytest.mark.parametrize(
    ("name", "side"),
    [("image_tower.conv.weight", "image"), ("image_head.mix.bias", "image"), ("text_head.project.weight", "text")],
)
def test_side_of(name, side):
    assert side_of(name) == side


def test_split_sides_and_count():
    parameters = {"image_head.a": torch.zeros(2, 3), "text_head.a": torch.zeros(4), "text_head.b": torch.zeros(())}
    sides = split_sides(parameters)
    assert list(sides["image"]) == ["image_head.a"] and list(sides["text"]) == ["text_head.a", "text_head.b"]
    assert split_sides({"text_head.a": torch.zeros(1)})["image"] == {}
    assert count(parameters) == 6 + 4 + 1
