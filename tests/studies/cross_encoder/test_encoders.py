import pytest

from pairstill.config import ImageConfig, TextConfig
from pairstill.core.errors import ConfigError
from pairstill.studies.cross_encoder.encoders import image_label, named_image, named_text

OWN = ImageConfig(name="resnet18", weights="own.safetensors", trainable=False, size=160, mean=(0.1, 0.1, 0.1))
TEXT = TextConfig(name="minilm", pooling="mean")


def test_the_own_name_means_the_run_s_tower():
    assert named_image("resnet18", OWN) == OWN and named_text("minilm", TEXT) == TEXT


def test_another_name_starts_from_the_defaults_but_is_trained_as_the_run_s():
    assert named_image("resnet50", OWN) == ImageConfig(name="resnet50", trainable=False)
    assert named_text("hashed_ngrams", TEXT) == TextConfig()


def test_weights_and_options():
    assert named_image("a=b/c.safetensors", OWN).weights == "b/c.safetensors"
    found = named_image("resnet18,weights=null,size=96,init_seed=4", OWN)
    assert (found.weights, found.size, found.init_seed, found.mean) == (None, 96, 4, OWN.mean)
    assert named_image("a,pretrained=true", OWN).pretrained
    assert named_text("org/model,pooling=mean,max_tokens=9", TEXT).max_tokens == 9
    assert named_text("hashed_ngrams,width=32", TEXT).width == 32


@pytest.mark.parametrize(
    "asked", ["", "=w", "a,size", "a,size=big", "a,colour=red", "a,trainable=true", "a,pretrained=1", "a,size=[1"]
)
def test_what_cannot_be_understood_is_refused(asked):
    with pytest.raises(ConfigError, match=r"write NAME|allowed are weights \(str or null\)"):
        named_image(asked, OWN)


def test_text_towers_have_no_weights_of_their_own():
    with pytest.raises(ConfigError, match="names no encoder; write NAME, or"):
        named_text("minilm=a.safetensors", TEXT)


@pytest.mark.parametrize(
    ("config", "label"),
    [
        (OWN, "resnet18 (own.safetensors, 160 px)"),
        (ImageConfig(name="a", pretrained=True), "a (pretrained, 160 px)"),
        (ImageConfig(name="a"), "a (untrained, 160 px)"),
        (ImageConfig(name="a", init_seed=2), "a (untrained, seed 2, 160 px)"),
    ],
)
def test_labels_tell_towers_apart(config, label):
    assert image_label(config, 160) == label
