"""The image side of a dual encoder of transformers (CLIP, SigLIP), frozen, with the preparation of its processor."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from PIL import Image
from torch import Tensor, nn

from pairstill.config import ImageConfig
from pairstill.core.errors import ConfigError
from pairstill.data.loader import INTERPOLATIONS, Resizing
from pairstill.encoders.pretrained_text import check_model, loading, read_model

_PROJECTIONS = {"image": "visual_projection", "text": "text_projection"}
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class DualImages:
    """The image side of a dual encoder.

    Attributes:
        tower: pixels (images, 3, size, size) to features (images, width).
        size: side of its own square input in pixels.
        mean: mean of its input normalisation per channel.
        std: standard deviation of its input normalisation per channel.
        resizing: how its processor makes photos square.
    """

    tower: nn.Module
    size: int
    mean: Channels
    std: Channels
    resizing: Resizing


class _ImageFeatures(nn.Module):
    """`get_image_features` as a tower; positions are interpolated where images have another size than the model's."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        own = self.model.config.vision_config.image_size
        more = {} if pixels.shape[-1] == own else {"interpolate_pos_encoding": True}
        found = self.model.get_image_features(pixel_values=pixels, **more)
        return getattr(found, "pooler_output", found)


def dual_images(config: ImageConfig, source: str) -> DualImages:
    """Load the image side of a checkpoint of transformers.

    Args:
        config: the settings, for `projection` and errors.
        source: the hub name, or the folder.

    Raises:
        ConfigError: transformers cannot load it or not as a whole, it is no dual encoder, has no projection to leave
            out, or prepares images in a way that is not understood.
    """
    from transformers import AutoImageProcessor

    with loading("image.name", config.name, source, "preprocessor_config.json"):
        model, found = read_model(source, dtype=torch.float32)
        prepared = AutoImageProcessor.from_pretrained(source).to_dict()
    check_model("image.name", config.name, model, found)
    if not hasattr(model, "get_image_features") or not hasattr(model.config, "text_config"):
        raise ConfigError(
            f"image.name is {config.name!r}, a {type(model).__name__}, which is no dual encoder of images and texts; "
            "name a CLIP or SigLIP checkpoint, or a model of timm.list_models()"
        )
    if not config.projection:
        without_projection("image", config.name, model)
    model.text_model = None  # the other side takes memory, and is not used
    preparation = _preparation(config.name, prepared)
    return DualImages(_ImageFeatures(model), *preparation)


def without_projection(side: Literal["image", "text"], name: str, model: Any) -> None:
    """Take the projection into the shared space off a side of a dual encoder.

    Raises:
        ConfigError: it has none.
    """
    if not isinstance(getattr(model, _PROJECTIONS[side], None), nn.Module):
        raise ConfigError(
            f"{side}.projection is off, but {name!r} is a {type(model).__name__}, which has none that could be left "
            f"out; leave {side}.projection out of the settings"
        )
    setattr(model, _PROJECTIONS[side], nn.Identity())


def _preparation(name: str, said: Mapping[str, Any]) -> tuple[int, Channels, Channels, Resizing]:
    """Return size, mean, standard deviation and resizing that an image processor's settings say."""
    size, crop = (dict(said.get(key) or {}) for key in ("size", "crop_size"))
    cropped = bool(said.get("do_center_crop")) and crop.get("height")
    short = size.get("shortest_edge")
    side = int(cropped or size.get("height") or short or 0)
    sides = {size.get("height"), size.get("width")} if short is None else {crop.get("height"), crop.get("width")}
    kinds = {resample.value: kind for kind, resample in INTERPOLATIONS.items()}
    kind = kinds.get(int(said.get("resample", Image.Resampling.BICUBIC)))
    understood = (
        bool(said.get("do_resize", True))
        and side > 0
        and sides == {side}
        and (short is None or (bool(cropped) and short >= side))
        and kind is not None
        and (
            not said.get("do_rescale", True) or math.isclose(said.get("rescale_factor", 1 / 255), 1 / 255, rel_tol=1e-3)
        )
    )
    if not understood or kind is None:
        raise ConfigError(
            f"image.name is {name!r}, whose preprocessor_config.json makes images of size {size}, crop_size {crop}, "
            f"resample {said.get('resample')}, rescale_factor {said.get('rescale_factor')}; pairstill takes squares of "
            "pixels in [0, 1], squashed or cut out of the middle: choose another checkpoint, or change that file"
        )
    resizing = Resizing("squash", 1.0, kind) if short is None else Resizing("crop", short / side, kind)
    normalised = said.get("do_normalize", True)
    mean, std = (
        tuple(said[key]) if normalised else (fill,) * 3 for key, fill in (("image_mean", 0.0), ("image_std", 1.0))
    )
    return side, cast(Channels, mean), cast(Channels, std), resizing
