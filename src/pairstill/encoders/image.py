"""The image tower: any timm model, its weights, and the input it expects."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pairstill.config import ImageConfig
from pairstill.encoders import towers as _registered  # noqa: F401 - importing registers the towers with timm
from pairstill.encoders.hub import without_waiting
from pairstill.encoders.weights import check_finite, check_keys
from pairstill.errors import ConfigError
from pairstill.rng import seeded_globally
from pairstill.wording import did_you_mean, nearest


@dataclass(frozen=True)
class ImageSpec:
    """What is needed to prepare an image for a tower, and to know the tower again.

    Attributes:
        name: timm's name of the model.
        size: side of the square input in pixels.
        mean: mean of the input normalisation per channel, for pixels in [0, 1].
        std: standard deviation of the input normalisation per channel.
        width: number of pooled features.
        digest: SHA-256 of the tower's initial parameters and buffers.
    """

    name: str
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    width: int
    digest: str

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ImageEncoder:
    """A tower in evaluation mode, with its specification.

    Batch-norm layers keep their pretrained statistics everywhere, so that a trajectory is its parameters and
    nothing else; `train()` is never called on the tower.
    """

    tower: nn.Module
    spec: ImageSpec


def check_image_tower(config: ImageConfig) -> None:
    """Refuse a tower that cannot be built, as far as that is seen at once.

    Raises:
        ConfigError: timm does not know the name, or the file of the weights is not there.
    """
    if not timm.is_model(config.name):
        near = nearest(config.name.partition(".")[0], timm.list_models())
        raise ConfigError(
            f"image.name is {config.name!r}, which timm does not know{did_you_mean(near)} Any name of "
            "timm.list_models() will do"
        )
    if config.weights is not None and not Path(config.weights).is_file():
        raise ConfigError(
            f"image.weights is {config.weights!r}, which is no file; give a safetensors file of the tower"
        )


def build_image_encoder(config: ImageConfig) -> ImageEncoder:
    """Build the tower that `config` names, without a classifier.

    Raises:
        ConfigError: timm does not know the name, or the weights do not fit the model.
    """
    check_image_tower(config)
    with seeded_globally("image tower", config.init_seed):
        tower = _create(config)
    if config.weights is not None:
        _load_weights(tower, Path(config.weights))
    tower = tower.eval().to(memory_format=torch.channels_last)
    known = tower.pretrained_cfg
    own = int(known["input_size"][-1])
    size = config.size or own
    width = _checked_width(config.name, tower, size, own)
    return ImageEncoder(
        tower,
        ImageSpec(
            name=config.name,
            size=size,
            mean=config.mean or tuple(known["mean"]),
            std=config.std or tuple(known["std"]),
            width=width,
            digest=_state_digest(tower),
        ),
    )


def _create(config: ImageConfig) -> Any:
    try:
        with without_waiting(asks=config.pretrained):
            return timm.create_model(config.name, pretrained=config.pretrained, num_classes=0)
    except (RuntimeError, OSError) as error:
        if not config.pretrained:
            raise
        raise ConfigError(
            f"image.pretrained is on, but timm cannot fetch weights of {config.name!r} ({error}); "
            "give a local file as image.weights"
        ) from error


def _load_weights(tower: Any, path: Path) -> None:
    """Load a safetensors state, leaving out the classifier that the tower does not have."""
    classifier = tower.pretrained_cfg.get("classifier")
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ConfigError(f"image.weights {str(path)!r} is not a whole safetensors file ({error})") from error
    state = {name: value for name, value in state.items() if not name.startswith(tuple(f"{head}." for head in heads))}
    own: dict[str, Tensor] = tower.state_dict()
    check_keys(
        f"image.weights {str(path)!r} does not fit {type(tower).__name__}",
        missing=own.keys() - state.keys(),
        other=(
            f"{name} is {value.dtype} {tuple(value.shape)}, not {own[name].dtype} {tuple(own[name].shape)}"
            for name, value in state.items()
            if name in own and _kind(value) != _kind(own[name])
        ),
        left_over=state.keys() - own.keys(),
    )
    tower.load_state_dict(state)
    check_finite(f"image.weights {str(path)!r}", tower)


def _kind(value: Tensor) -> tuple[object, ...]:
    """Return what must be the same of two weights; float16 for float32 will do."""
    return value.is_floating_point(), value.is_complex(), value.shape


def _checked_width(name: str, tower: Any, size: int, own: int) -> int:
    """Return `num_features`, after checking that images of this size really give features of this width."""
    width = int(tower.num_features)
    try:
        if size != own and hasattr(tower, "set_input_size"):  # transformers, whose places are learned for one size
            tower.set_input_size(img_size=(size, size))
        with torch.no_grad():
            found = tower(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:  # no room for them, or less than one patch
        raise ConfigError(
            f"image.size is {size}, and {name} cannot take an image of {size} x {size} ({error}); its own size is {own}"
        ) from error
    if found.shape != (1, width):
        raise ConfigError(
            f"the image tower gives features of shape {tuple(found.shape)} where its num_features says (1, {width}); "
            "choose a model whose pooled features are its num_features"
        )
    if not bool(found.isfinite().all()):
        raise ConfigError(
            f"the image tower {name} gives features that are not finite for a black image; its weights are damaged: "
            "give others"
        )
    return width


def _state_digest(module: nn.Module) -> str:
    state = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        state.update(name.encode())
        state.update(value.detach().contiguous().cpu().numpy().tobytes())
    return state.hexdigest()


def to_channels_last(images: Tensor) -> Tensor:
    """Return images (pairs, channels, height, width) in the memory layout that convolutions run fastest on."""
    return images.contiguous(memory_format=torch.channels_last)
