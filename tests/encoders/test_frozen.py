import copy
from dataclasses import replace

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from pairstill.config import ImageConfig
from pairstill.core.errors import ConfigError
from pairstill.encoders.frozen import LeanClamp, fold_batch_norm, frozen_tower, lean_activations
from pairstill.encoders.image import build_image_encoder


@pytest.fixture(scope="module")
def tiny():
    return build_image_encoder(ImageConfig())


def randomise(tower, seed=0):
    """Give every batch norm statistics and weights far from the identity."""
    generator = torch.Generator().manual_seed(seed)
    for layer in tower.modules():
        if isinstance(layer, nn.BatchNorm2d):
            n = layer.num_features
            layer.running_mean.copy_(0.3 * torch.randn(n, generator=generator))
            layer.running_var.copy_(0.5 + torch.rand(n, generator=generator))
            if layer.affine:
                layer.weight.data.copy_(0.5 + torch.rand(n, generator=generator))
                layer.bias.data.copy_(0.2 * torch.randn(n, generator=generator))
    return tower


def test_folding_by_hand():
    convolution, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)
    module = nn.Sequential(convolution, norm).double().eval()
    with torch.no_grad():
        convolution.weight.fill_(2.0), convolution.bias.fill_(1.0)
        norm.running_mean.fill_(3.0), norm.running_var.fill_(4.0)
        norm.weight.fill_(5.0), norm.bias.fill_(6.0)
    folded = fold_batch_norm(module)
    # 5 (2x + 1 - 3) / sqrt(4) + 6 = 5x + 1
    assert folded[0].weight.item() == pytest.approx(5.0)
    assert folded[0].bias.item() == pytest.approx(1.0)
    assert isinstance(folded[1], nn.Identity)


def test_folding_keeps_the_activation_of_a_fused_layer():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4, act_layer=nn.SiLU)).double().eval()
    randomise(module)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    expected = module(x)
    folded = fold_batch_norm(module)
    assert isinstance(folded[1], nn.SiLU)
    torch.testing.assert_close(folded(x), expected, rtol=1e-10, atol=1e-12)


def test_folding_leaves_a_batch_norm_without_a_convolution_before_it():
    module = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)).double().eval()
    randomise(module)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    expected = module(x)
    torch.testing.assert_close(fold_batch_norm(module)(x), expected)
    assert isinstance(module[0], nn.BatchNorm2d)


@pytest.mark.parametrize("name", ["mobilenetv1_075", "resnet18", "nf_resnet_tiny"])
def test_a_folded_tower_computes_the_same(name):
    tower = randomise(build_image_encoder(ImageConfig(name=name, size=32)).tower.double())
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = tower(x)
        found = fold_batch_norm(tower)(x)
    assert not [layer for layer in tower.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_a_batch_norm_without_statistics_cannot_be_folded():
    with pytest.raises(ConfigError, match="keeps no statistics"):
        fold_batch_norm(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)).eval())


def test_a_frozen_tower_has_no_gradients_but_its_input_has():
    encoder = build_image_encoder(ImageConfig(name="nf_resnet_tiny", size=16))
    tower = frozen_tower(encoder, torch.device("cpu"))
    assert not any(p.requires_grad for p in tower.parameters())
    x = torch.randn(1, 3, 16, 16, requires_grad=True)
    tower(x).sum().backward()
    assert x.grad.abs().sum() > 0


class SharedNorm(nn.Module):
    """A batch norm that sees more than the convolution registered before it, as in RepViT."""

    def __init__(self):
        super().__init__()
        self.num_features = 3
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.norm(self.conv(x) + x).mean((2, 3))


def test_a_tower_that_cannot_be_folded_stays_as_it_is(tiny):
    tower = randomise(SharedNorm().eval())
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = tower(x)
        frozen = frozen_tower(replace(tiny, tower=tower), torch.device("cpu"))
        torch.testing.assert_close(frozen(x), expected)
    assert not any(p.requires_grad for p in frozen.parameters())


def test_freezing_folds_a_copy(tiny):
    encoder = build_image_encoder(ImageConfig(name="mobilenetv1_075", size=32))
    randomise(encoder.tower)
    before = {name: value.clone() for name, value in encoder.tower.state_dict().items()}
    frozen = frozen_tower(encoder, torch.device("cpu"))
    assert not [layer for layer in frozen.modules() if isinstance(layer, nn.BatchNorm2d)]
    after = encoder.tower.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(after[name], value) for name, value in before.items())


def test_lean_activations_keep_every_bit_of_values_and_gradients():
    tower = build_image_encoder(ImageConfig(name="mobilenetv1_075", size=32)).tower
    lean = lean_activations(copy.deepcopy(tower))
    assert not [layer for layer in lean.modules() if isinstance(layer, nn.ReLU6)]
    x = torch.randn(2, 3, 32, 32, requires_grad=True)
    (expected,) = torch.autograd.grad(tower(x).square().sum(), x)
    (found,) = torch.autograd.grad(lean(x).square().sum(), x)
    assert torch.equal(lean(x), tower(x)) and torch.equal(found, expected) and expected.abs().sum() > 0


def test_a_lean_clamp_by_hand():
    x = torch.tensor([-1.0, 0.0, 2.0, 6.0, 9.0], requires_grad=True)
    y = 1 * x
    z = LeanClamp(0.0, 6.0)(y)
    assert z.tolist() == [0, 0, 2, 6, 6] and z.data_ptr() == y.data_ptr()
    (gradient,) = torch.autograd.grad(z, x, torch.full((5,), 3.0))
    assert gradient.tolist() == [0, 0, 3, 0, 0]


def test_activations_that_are_not_in_place_stay():
    module = nn.Sequential(nn.ReLU6(), nn.ReLU(inplace=True))
    assert [type(layer) for layer in lean_activations(module)] == [nn.ReLU6, nn.ReLU]


def test_a_batch_norm_of_another_width_than_the_convolution_before_it_stays():
    layers = nn.ModuleDict({"convolution": nn.Conv2d(3, 4, 1), "norm": nn.BatchNorm2d(3)})
    assert isinstance(fold_batch_norm(layers)["norm"], nn.BatchNorm2d)
