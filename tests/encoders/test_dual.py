import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, BertConfig, BertModel, CLIPModel, SiglipModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from pairstill import load_set
from pairstill.cli import main
from pairstill.config import ImageConfig, TextConfig
from pairstill.core.errors import ConfigError
from pairstill.data.loader import normalise, read_images
from pairstill.encoders.frozen import frozen_tower
from pairstill.encoders.image import build_image_encoder
from pairstill.encoders.text import build_text_encoder

CAPTIONS = ["a dog runs", "dog", "a dog runs over the green grass"]
KINDS = {"clip": (CLIPModel, CLIPImageProcessorPil), "siglip": (SiglipModel, SiglipImageProcessorPil)}


@pytest.fixture(params=["clip", "siglip"])
def checkpoint(request):
    """A folder, and its model and image processor as transformers itself loads them."""
    folder = request.getfixturevalue(f"{request.param}_folder")
    model, processor = KINDS[request.param]
    return folder, model.from_pretrained(folder).eval(), processor.from_pretrained(folder)


def image_of(folder, **more):
    return build_image_encoder(ImageConfig(name=str(folder), trainable=False, **more))


def text_of(folder, **more):
    return build_text_encoder(TextConfig(name=str(folder), **{"max_tokens": 12, **more}))


def pooled(found):
    return getattr(found, "pooler_output", found)


@torch.no_grad()
def test_images_are_prepared_and_encoded_as_by_the_processor_and_the_model(checkpoint, photos):
    folder, model, processor = checkpoint
    encoder = image_of(folder)
    spec = encoder.spec
    pixels = normalise(read_images(photos, spec.size, spec.resizing), spec.mean, spec.std)
    expected = processor([Image.open(path) for path in photos], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels, expected, rtol=1e-5, atol=1e-5)
    features = pooled(model.get_image_features(pixel_values=expected))
    assert spec.width == features.shape[1]
    torch.testing.assert_close(frozen_tower(encoder, torch.device("cpu"))(pixels), features, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("max_tokens", [12, 5])
def test_captions_are_padded_and_encoded_as_by_the_model(checkpoint, max_tokens):
    folder, model, _ = checkpoint
    tokens = AutoTokenizer.from_pretrained(folder)(CAPTIONS, truncation=True, max_length=max_tokens)
    tokens = AutoTokenizer.from_pretrained(folder).pad(tokens, padding="max_length", max_length=12, return_tensors="pt")
    expected = pooled(model.get_text_features(**tokens))
    encoder = text_of(folder, max_tokens=max_tokens)
    torch.testing.assert_close(encoder.encode(CAPTIONS), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.encode(CAPTIONS[:1]), expected[:1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_without_the_projections(clip_folder):
    model, pixels = CLIPModel.from_pretrained(clip_folder).eval(), torch.randn(2, 3, 16, 16)
    image, text = image_of(clip_folder, projection=False), text_of(clip_folder, projection=False)
    assert image.spec.width == text.spec.width == 16
    features = model.vision_model(pixel_values=pixels).pooler_output
    torch.testing.assert_close(image.tower(pixels), features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(image_of(clip_folder).tower(pixels), model.visual_projection(features))
    assert image.spec.key != image_of(clip_folder).spec.key and text.spec != text_of(clip_folder).spec


def test_both_sides_know_their_checkpoint(clip_folder, siglip_folder):
    clip, siglip = image_of(clip_folder).spec, image_of(siglip_folder).spec
    assert (clip.size, clip.resizing.kind, clip.resizing.enlarged) == (16, "crop", 1.25)
    assert (siglip.size, siglip.resizing.kind, siglip.resizing.interpolation) == (16, "squash", "bicubic")
    assert "resizing" in clip.to_json() and "resizing" not in siglip.to_json()
    assert clip.key != siglip.key and "enlarged=1.25" in clip.key and siglip.key == repr(siglip)
    assert text_of(clip_folder).spec.pooling == "projected"


@torch.no_grad()
def test_another_size_interpolates_positions(clip_folder):
    encoder, pixels = image_of(clip_folder, size=24), torch.randn(1, 3, 24, 24)
    assert (encoder.spec.size, encoder.spec.resizing.enlarged) == (24, 1.25)
    model = CLIPModel.from_pretrained(clip_folder).eval()
    expected = pooled(model.get_image_features(pixel_values=pixels, interpolate_pos_encoding=True))
    torch.testing.assert_close(encoder.tower(pixels), expected, rtol=1e-4, atol=1e-5)


def test_pixels_have_gradients_through_the_frozen_tower(clip_folder):
    pixels = torch.randn(2, 3, 16, 16, requires_grad=True)
    frozen_tower(image_of(clip_folder), torch.device("cpu"))(pixels).square().sum().backward()
    assert pixels.grad is not None and bool((pixels.grad != 0).any())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"trainable": True}, "pairstill takes frozen.* Set image.trainable to false, heads.image to true"),
        ({"pretrained": True}, "image.pretrained is True, .* dual encoder, which comes with its weights; leave"),
        ({"size": 4}, "image.size is 4, and .* cannot take an image of 4 x 4"),
    ],
)
def test_image_settings_that_do_not_fit(clip_folder, more, said):
    with pytest.raises(ConfigError, match=said):
        build_image_encoder(ImageConfig(name=str(clip_folder), **{"trainable": False, **more}))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"pooling": "mean"}, "text.pooling is mean, .* pools in a way of its own; leave text.pooling out"),
        ({"max_tokens": 64}, "text.max_tokens is 64, but .* takes 12 tokens at most"),
    ],
)
def test_text_settings_that_do_not_fit(clip_folder, more, said):
    with pytest.raises(ConfigError, match=said):
        text_of(clip_folder, **more)


def test_projections_that_are_not_there(siglip_folder, gpt2_folder):
    with pytest.raises(ConfigError, match="image.projection is off, .* SiglipModel, which has none"):
        image_of(siglip_folder, projection=False)
    with pytest.raises(ConfigError, match="text.projection is off, .* SiglipModel, which has none"):
        text_of(siglip_folder, projection=False)
    with pytest.raises(ConfigError, match="text.projection is off, .* is no dual encoder"):
        text_of(gpt2_folder, projection=False, pooling="mean")
    with pytest.raises(ConfigError, match="image.projection is off, but 'resnet18' is no dual encoder"):
        build_image_encoder(ImageConfig(name="resnet18", projection=False))


@pytest.mark.parametrize(
    "change", [{"do_resize": False}, {"crop_size": {"height": 16, "width": 12}}, {"rescale_factor": 1}, {"size": 12}]
)
def test_preparations_that_are_not_understood(clip_folder, tmp_path, change):
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match="whose preprocessor_config.json makes images of size"):
        image_of(folder)


def test_a_checkpoint_that_is_no_dual_encoder(clip_folder, tmp_path):
    BertModel(BertConfig(vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(
        tmp_path
    )
    shutil.copy(clip_folder / "preprocessor_config.json", tmp_path)
    with pytest.raises(ConfigError, match="a BertModel, which is no dual encoder of images and texts"):
        image_of(tmp_path)
    with pytest.raises(ConfigError, match="image.name is .* transformers cannot load it .*preprocessor_config.json"):
        image_of(tmp_path / "nothing")


def test_a_whole_run_with_both_sides(clip_folder, tmp_path):
    tiny = str(Path(__file__).parents[1] / "recipes" / "tiny.yaml")
    settings = ["--image.trainable=false", "--image.size=null", "--heads.image=true", "--heads.width=8"]
    encoders = [f"--image.name={clip_folder}", f"--text.name={clip_folder}", "--text.max_tokens=12"]
    places = [f"--run_dir={tmp_path / 'run'}", f"--cache_dir={tmp_path / 'cache'}"]
    assert main(["run", "--config", tiny, *settings, *encoders, *places]) == 0
    described = load_set(tmp_path / "run").image_encoder
    assert described["resizing"] == {"kind": "crop", "enlarged": 1.25, "interpolation": "bicubic"}
    assert load_set(tmp_path / "run").phases[0].images.shape == (6, 3, 16, 16)
