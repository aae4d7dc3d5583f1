"""Towers in two parts: the stem and the last stages in turn are the tower."""

import warnings

import pytest
import torch
from torch import nn

from pairstill.config import ImageConfig
from pairstill.core.errors import ConfigError
from pairstill.encoders.frozen import frozen_part
from pairstill.encoders.image import ImageEncoder, build_image_encoder
from pairstill.encoders.stages import rest_of, stem_of

CPU = torch.device("cpu")


def _encoder(name: str, last_stages: int | None, size: int = 32) -> ImageEncoder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build_image_encoder(ImageConfig(name=name, last_stages=last_stages, size=size))


@pytest.mark.parametrize(
    ("name", "last_stages", "module", "shape"),
    [
        ("nf_resnet_tiny", 2, "stages.1", (64, 4, 4)),
        ("mobilenetv1_075", 1, "blocks.3", (384, 2, 2)),
        ("resnet18", 4, "act1", (64, 16, 16)),
        ("mobilenetv3_small_050", 3, "blocks.0", (8, 8, 8)),
        ("regnetx_002", 1, "s3", (152, 2, 2)),
    ],
)
def test_both_parts_in_turn_are_the_tower(name: str, last_stages: int, module: str, shape: tuple[int, ...]) -> None:
    encoder = _encoder(name, last_stages)
    assert encoder.spec.cut is not None and (encoder.spec.cut.module, encoder.spec.features) == (module, shape)
    stem, rest, x = frozen_part(encoder, CPU, trains=True), encoder.trained, torch.randn(3, 3, 32, 32)
    assert stem is not None and not any(value.requires_grad for value in stem.parameters())
    with torch.no_grad():
        between, expected = stem(x), encoder.tower(x)
        before = between.clone()
        assert between.shape[1:] == shape
        torch.testing.assert_close(rest(between), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert torch.equal(between, before), "the rest changes nothing in what it is given"


def test_every_parameter_is_in_one_part_under_its_name_in_the_tower() -> None:
    encoder = _encoder("mobilenetv1_075", 2)
    assert encoder.spec.cut is not None
    own, rest = (
        dict(encoder.tower.named_parameters()),
        dict(rest_of(encoder.tower, encoder.spec.cut).named_parameters()),
    )
    stem = {id(value) for value in stem_of(encoder.tower, encoder.spec.cut).parameters()}
    assert all(own[name] is value for name, value in rest.items())
    assert stem | {id(value) for value in rest.values()} == {id(value) for value in own.values()}
    assert not stem & {id(value) for value in rest.values()}
    assert list(rest) == [name for name in own if name in rest] and list(rest)[0] == "blocks.3.0.conv_dw.weight"


def test_all_stages_are_the_whole_tower_and_none_the_frozen_one() -> None:
    whole, none = _encoder("nf_resnet_tiny", 5), _encoder("nf_resnet_tiny", 0)
    assert whole.spec == none.spec == _encoder("nf_resnet_tiny", None).spec
    assert frozen_part(whole, CPU, trains=True) is None and isinstance(frozen_part(none, CPU, trains=False), nn.Module)


def test_features_depend_on_the_cut_and_nothing_else_changes() -> None:
    plain, one, two = (_encoder("nf_resnet_tiny", n).spec for n in (None, 1, 2))
    assert len({plain.key, one.key, two.key}) == 3 and plain.key == repr(plain) and "cut" not in plain.to_json()
    assert one.to_json() == {**plain.to_json(), "cut": {"module": "stages.2", "shape": (96, 2, 2)}}


@pytest.mark.parametrize(
    ("name", "last_stages", "size", "message"),
    [
        ("nf_resnet_tiny", 6, 32, r"is 6, but nf_resnet_tiny has 5 stages \(stem.conv, .*\); give 0 to 5"),
        (
            "vit_tiny_patch16_224",
            1,
            224,
            "vit_tiny_patch16_224 cannot be cut behind blocks.10: it does not run its modules",
        ),
    ],
)
def test_a_tower_that_has_no_such_stages_is_refused(name: str, last_stages: int, size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _encoder(name, last_stages, size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"last_stages": -1}, "last_stages is -1"),
        ({"last_stages": 1, "trainable": False}, "image.trainable to true"),
        ({"last_stages": 1, "features": "x"}, "image.features is set but the image tower is trained"),
        ({"last_stages": 0, "precision": "tf32"}, "image.precision is tf32 but the image tower is frozen"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImageConfig(**settings)  # pyright: ignore[reportArgumentType] - wrong on purpose
