import math
import re
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import BatchNormAct2d
from torch import nn

from pairstill.config import ImageConfig
from pairstill.encoders.image import build_image_encoder, fold_batch_norm, frozen_tower, to_channels_last
from pairstill.errors import ConfigError


@pytest.fixture(scope="module")
def tiny():
    return build_image_encoder(ImageConfig())


def same_state(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_specification_of_the_embedded_tower(tiny):
    spec = tiny.spec
    assert (spec.name, spec.size, spec.width) == ("nf_resnet_tiny", 32, 128)
    assert spec.mean == spec.std == (0.5, 0.5, 0.5)
    assert tiny.tower(torch.zeros(2, 3, 32, 32)).shape == (2, 128)
    assert spec.to_json()["digest"] == spec.digest


def test_settings_override_the_towers_own_input():
    config = ImageConfig(size=16, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    spec = build_image_encoder(config).spec
    assert (spec.size, spec.mean, spec.std) == (16, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_initial_weights_are_those_of_the_seed(tiny):
    torch.manual_seed(123)
    again = build_image_encoder(ImageConfig())
    assert same_state(again.tower, tiny.tower) and again.spec == tiny.spec
    other = build_image_encoder(ImageConfig(init_seed=1))
    assert not same_state(other.tower, tiny.tower)
    assert other.spec.digest != tiny.spec.digest


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    build_image_encoder(ImageConfig(init_seed=3))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["nf_resnet_tiny", "mobilenetv1_075"])
def test_towers_are_in_evaluation_mode_without_classifier(name):
    tower = build_image_encoder(ImageConfig(name=name, size=32)).tower
    assert not any(layer.training for layer in tower.modules())
    assert not any("classifier" in key or "head.fc" in key for key in tower.state_dict())


def test_unknown_name_offers_names_alike():
    with pytest.raises(ConfigError, match="image.name is 'mobilenetv1_76', which timm does not know") as caught:
        build_image_encoder(ImageConfig(name="mobilenetv1_76"))
    assert "mobilenetv1_075" in str(caught.value)


def test_local_weights_without_their_classifier(tmp_path):
    torch.manual_seed(1)
    trained = timm.create_model("nf_resnet_tiny", num_classes=3)
    assert {"head.fc.weight", "head.fc.bias"} <= trained.state_dict().keys()
    path = tmp_path / "tower.safetensors"
    save_file(trained.state_dict(), path)
    encoder = build_image_encoder(ImageConfig(weights=str(path)))
    state = trained.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in encoder.tower.state_dict().items())
    assert encoder.spec.digest != build_image_encoder(ImageConfig()).spec.digest


def test_weights_without_any_classifier(tmp_path):
    path = tmp_path / "tower.safetensors"
    save_file(timm.create_model("nf_resnet_tiny", num_classes=0).state_dict(), path)
    build_image_encoder(ImageConfig(weights=str(path)))


@pytest.mark.parametrize("wrong", ["shape", "missing", "extra"])
def test_weights_of_another_tower(tmp_path, wrong):
    state = timm.create_model("nf_resnet_tiny", num_classes=0).state_dict()
    if wrong == "shape":
        state["stem.conv.weight"] = torch.zeros(1)
    elif wrong == "missing":
        del state["stem.conv.weight"]
    else:
        state["unknown.weight"] = torch.zeros(1)
    path = tmp_path / "tower.safetensors"
    save_file(state, path)
    key = "unknown.weight" if wrong == "extra" else "stem.conv.weight"
    with pytest.raises(ConfigError, match=f"(?s)image.weights {re.escape(repr(str(path)))} does not fit.*{key}"):
        build_image_encoder(ImageConfig(weights=str(path)))


def test_missing_weights(tmp_path):
    with pytest.raises(ConfigError, match="which is no file; give a safetensors file"):
        build_image_encoder(ImageConfig(weights=str(tmp_path / "nothing")))


def test_damaged_weights(tmp_path):
    path = tmp_path / "tower.safetensors"
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(ConfigError, match="image.weights .* safetensors"):
        build_image_encoder(ImageConfig(weights=str(path)))


def test_pretrained_weights_that_do_not_exist():
    with pytest.raises(ConfigError, match="image.pretrained"):
        build_image_encoder(ImageConfig(name="nf_resnet_tiny", pretrained=True))


def randomise(tower, seed=0):
    """Give every batch norm statistics and weights far from the identity."""
    draw = torch.Generator().manual_seed(seed)
    for layer in tower.modules():
        if isinstance(layer, nn.BatchNorm2d):
            n = layer.num_features
            layer.running_mean.copy_(0.3 * torch.randn(n, generator=draw))
            layer.running_var.copy_(0.5 + torch.rand(n, generator=draw))
            if layer.affine:
                layer.weight.data.copy_(0.5 + torch.rand(n, generator=draw))
                layer.bias.data.copy_(0.2 * torch.randn(n, generator=draw))
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


def test_channels_last_changes_memory_not_values():
    x = torch.randn(2, 3, 4, 5)
    y = to_channels_last(x)
    assert torch.equal(x, y) and y.is_contiguous(memory_format=torch.channels_last)
    assert y.stride()[1] == 1 and math.prod(y.shape) == 120
