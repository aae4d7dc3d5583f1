import json

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from pairstill.config import ImageConfig, TextConfig
from pairstill.core import extras
from pairstill.core.errors import ConfigError, MissingDependencyError
from pairstill.data.loader import normalise, read_images
from pairstill.encoders.frozen import frozen_tower
from pairstill.encoders.image import build_image_encoder
from pairstill.encoders.text import build_text_encoder

CAPTIONS = ["a dog runs", "dog", "a dog runs over the green grass"]
MODEL = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
PREPARED = {
    "mean": [0.48, 0.46, 0.41],
    "std": [0.27, 0.26, 0.28],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    expected = r'open_clip:ViT-B-32/openai needs the package open_clip, .* run `pip install "pairstill\[open_clip\]"`'
    with pytest.raises(MissingDependencyError, match="image.name " + expected):
        build_image_encoder(ImageConfig(name="open_clip:ViT-B-32/openai", trainable=False))
    with pytest.raises(MissingDependencyError, match="text.name " + expected):
        build_text_encoder(TextConfig(name="open_clip:ViT-B-32/openai"))


@pytest.fixture(scope="module")
def open_clip():
    return pytest.importorskip("open_clip", reason="open_clip is an extra")


@pytest.fixture(scope="module")
def folder(open_clip, tmp_path_factory):
    """A small random model as open_clip saves it for the hub."""
    path = tmp_path_factory.mktemp("open_clip")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(**MODEL)
    save_file(model.state_dict(), path / "open_clip_model.safetensors")
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": PREPARED}))
    return path


@pytest.fixture(scope="module")
def theirs(open_clip, folder):
    model, prepare = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    return model.eval(), prepare, open_clip.get_tokenizer(f"local-dir:{folder}")


def image_of(folder, **more):
    return build_image_encoder(ImageConfig(name=f"open_clip:{folder}", trainable=False, **more))


def text_of(folder, **more):
    return build_text_encoder(TextConfig(name=f"open_clip:{folder}", **{"max_tokens": 20, **more}))


@torch.no_grad()
def test_images_as_open_clip_has_them(folder, theirs, photos):
    model, prepare, _ = theirs
    encoder = image_of(folder)
    spec = encoder.spec
    pixels = normalise(read_images(photos, spec.size, spec.resizing), spec.mean, spec.std)
    expected = torch.stack([prepare(Image.open(path)) for path in photos])
    torch.testing.assert_close(pixels, expected, rtol=1e-5, atol=1e-5)
    features = frozen_tower(encoder, torch.device("cpu"))(pixels)
    torch.testing.assert_close(features, model.encode_image(expected), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_captions_as_open_clip_has_them(folder, theirs):
    model, _, tokenizer = theirs
    expected = model.encode_text(tokenizer(CAPTIONS))
    torch.testing.assert_close(text_of(folder).encode(CAPTIONS), expected, rtol=1e-4, atol=1e-5)
    cut = model.encode_text(torch.nn.functional.pad(tokenizer(CAPTIONS, context_length=5), (0, 15)))
    torch.testing.assert_close(text_of(folder, max_tokens=5).encode(CAPTIONS), cut, rtol=1e-4, atol=1e-5)


def test_without_the_projections(folder):
    assert image_of(folder).spec.width == text_of(folder).spec.width == 8
    assert image_of(folder, projection=False).spec.width == text_of(folder, projection=False).spec.width == 16


def test_another_size(folder):
    assert image_of(folder, size=24).tower(torch.zeros(1, 3, 24, 24)).shape == (1, 8)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViT-B-32/no_such_weights", "weights of ViT-B-32 are openai, laion400m"),
        ("no_such_model", "is no folder and no architecture of open_clip; give open_clip:ARCHITECTURE/WEIGHTS"),
    ],
)
def test_names_that_are_not_known(open_clip, name, said):
    with pytest.raises(ConfigError, match=said):
        build_text_encoder(TextConfig(name=f"open_clip:{name}"))


def test_a_folder_without_weights(open_clip, folder, tmp_path):
    (tmp_path / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
    with pytest.raises(ConfigError, match="open_clip cannot load it .* with open_clip_config.json and open_clip_model"):
        image_of(tmp_path)


def test_a_way_of_resizing_that_is_not_known(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = {"model_cfg": MODEL, "preprocess_cfg": {**PREPARED, "resize_mode": "longest"}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="resize_mode shortest or squash"):
        image_of(tmp_path)


def test_text_settings_that_do_not_fit(folder):
    with pytest.raises(ConfigError, match="text.pooling is mean, .* pools in a way of its own"):
        text_of(folder, pooling="mean")
    with pytest.raises(ConfigError, match="text.max_tokens is 64, but .* takes 20 tokens at most"):
        text_of(folder, max_tokens=64)
