import math
import re

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import register_model

from pairstill.config import ImageConfig
from pairstill.core.errors import ConfigError
from pairstill.encoders.frozen import frozen_tower
from pairstill.encoders.image import build_image_encoder, is_dual, to_channels_last


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


def test_transformers_take_other_sizes_than_they_were_made_for():
    encoder = build_image_encoder(ImageConfig(name="vit_tiny_patch16_224", size=32))
    assert encoder.tower(torch.zeros(1, 3, 32, 32)).shape == (1, encoder.spec.width)
    assert encoder.tower.pos_embed.shape[1] == 1 + (32 // 16) ** 2


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
    assert "did you mean mobilenetv1_075" in str(caught.value)
    with pytest.raises(ConfigError, match="image.name is 'resnt50', which timm does not know; did you mean resnet50"):
        build_image_encoder(ImageConfig(name="resnt50"))
    with pytest.raises(ConfigError, match=r"timm does not know\. Any name of timm.list_models\(\) will do"):
        build_image_encoder(ImageConfig(name="qqqqqqqqqqqq"))


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


@pytest.mark.parametrize("wrong", ["shape", "kind", "missing", "extra"])
def test_weights_of_another_tower(tmp_path, wrong):
    state = timm.create_model("nf_resnet_tiny", num_classes=0).state_dict()
    if wrong == "shape":
        state["stem.conv.weight"] = torch.zeros(1)
    elif wrong == "kind":
        state["stem.conv.weight"] = state["stem.conv.weight"].to(torch.int32)
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


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_damaged_weights(tmp_path, keep):
    path = tmp_path / "tower.safetensors"
    save_file(timm.create_model("nf_resnet_tiny", num_classes=0).state_dict(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ConfigError, match="image.weights .* safetensors"):
        build_image_encoder(ImageConfig(weights=str(path)))


def test_pretrained_weights_that_do_not_exist():
    with pytest.raises(ConfigError, match="image.pretrained"):
        build_image_encoder(ImageConfig(name="nf_resnet_tiny", pretrained=True))


def test_channels_last_changes_memory_not_values():
    x = torch.randn(2, 3, 4, 5)
    y = to_channels_last(x)
    assert torch.equal(x, y) and y.is_contiguous(memory_format=torch.channels_last)
    assert y.stride()[1] == 1 and math.prod(y.shape) == 120


@pytest.mark.parametrize("size", [8, 2**40])
def test_sizes_that_a_tower_cannot_take(size):
    with pytest.raises(ConfigError, match=f"image.size is {size}, and vit_tiny_patch16_224 cannot .* own size is 224"):
        build_image_encoder(ImageConfig(name="vit_tiny_patch16_224", size=size))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite(tmp_path, value):
    state = timm.create_model("nf_resnet_tiny", num_classes=0).state_dict()
    state["stem.conv.weight"][0, 0, 0, 0] = value
    save_file(state, tmp_path / "tower.safetensors")
    with pytest.raises(ConfigError, match="values that are not finite in stem.conv.weight"):
        build_image_encoder(ImageConfig(weights=str(tmp_path / "tower.safetensors")))


def test_weights_of_batch_norms_that_give_no_numbers(tmp_path):
    state = timm.create_model("resnet18", num_classes=0).state_dict()
    state["bn1.running_var"].fill_(-1)
    save_file(state, tmp_path / "tower.safetensors")
    with pytest.raises(ConfigError, match="resnet18 gives features that are not finite"):
        build_image_encoder(ImageConfig(name="resnet18", size=32, weights=str(tmp_path / "tower.safetensors")))


@pytest.mark.parametrize(
    ("name", "size", "width"),
    [("mobilenetv3_small_100", 64, 1024), ("mobilenetv4_conv_small_035", 64, 1280), ("levit_128s", None, 384)],
)
def test_the_width_is_what_a_probe_measures(name, size, width):
    encoder = build_image_encoder(ImageConfig(name=name, size=size))
    size = encoder.spec.size
    assert encoder.spec.width == width == encoder.tower(torch.zeros(1, 3, size, size)).shape[1]


@pytest.mark.parametrize("name", ["test_mambaout", "test_efficientnet", "test_vit", "test_resnet", "test_nfnet"])
def test_a_few_of_the_families(name):
    encoder = build_image_encoder(ImageConfig(name=name, size=64, trainable=False))
    pixels = torch.rand(2, 3, 64, 64, requires_grad=True)
    features = frozen_tower(encoder, torch.device("cpu"))(pixels)
    features.square().sum().backward()
    assert features.shape == (2, encoder.spec.width)
    assert pixels.grad is not None and bool(pixels.grad.isfinite().all())


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("mixer_s32_224", 160, "own size is 224; it takes 224 alone: set image.size"),
        ("test_maxvit", 100, "own size is 160; it takes 96, 128, 160: set image.size to one of them"),
    ],
)
def test_a_size_that_does_not_do_is_answered_with_those_that_do(name, size, said):
    with pytest.raises(ConfigError, match=f"image.size is {size}, and {name} cannot take .*{said}"):
        build_image_encoder(ImageConfig(name=name, size=size))


@register_model
def tower_of_a_map(pretrained=False, **kwargs):
    tower = torch.nn.Conv2d(3, 4, 1)
    tower.pretrained_cfg = {"input_size": (3, 8, 8), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    return tower


def test_a_tower_that_gives_no_row_of_features():
    with pytest.raises(ConfigError, match=r"features of shape \(1, 4, 8, 8\); a tower must give one row of features"):
        build_image_encoder(ImageConfig(name="tower_of_a_map"))


def test_a_name_that_timm_does_not_know_may_be_a_checkpoint():
    assert is_dual("openai/clip-vit-base-patch32") and not is_dual("resnet18") and not is_dual("resnt18")
