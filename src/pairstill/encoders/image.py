"""The image tower: any timm model, its weights, and the input it expects."""

import hashlib
import warnings
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pairstill.config import ImageConfig
from pairstill.core.errors import SHOWN_CHARACTERS, ConfigError
from pairstill.core.extras import need
from pairstill.core.formatting import did_you_mean, nearest
from pairstill.core.rng import seeded_globally
from pairstill.data.loader import SQUASH, Resizing
from pairstill.encoders import towers as _registered  # noqa: F401 - importing registers the towers with timm
from pairstill.encoders.dual import Channels, DualImages, dual_images
from pairstill.encoders.hub import without_waiting
from pairstill.encoders.open_clip_towers import PREFIX, open_clip_images
from pairstill.encoders.stages import Cut, find_cut, rest_of, stem_of
from pairstill.encoders.trained import trained_tower
from pairstill.encoders.weights import check_finite, check_keys


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
        resizing: how photos are made square.
        cut: where the frozen stem ends and the stages begin that train; None if there is one part alone.
    """

    name: str
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    width: int
    digest: str
    resizing: Resizing = field(default=SQUASH, repr=False)
    cut: Cut | None = field(default=None, repr=False)

    @property
    def features(self) -> tuple[int, ...]:
        """Shape of an image's features, those that the frozen part of the tower gives."""
        return (self.width,) if self.cut is None else self.cut.shape

    @property
    def key(self) -> str:
        """What features depend on, for digests: the same as before there were other resizings, and cuts."""
        return " ".join([repr(self), *(repr(getattr(self, name)) for name in self._uncommon())])

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values, without a resizing that is the common one, and a cut that there is not."""
        known, uncommon = asdict(self), self._uncommon()
        return {name: known[name] for name in known if name not in ("resizing", "cut") or name in uncommon}

    def _uncommon(self) -> list[str]:
        return ["resizing"] * (self.resizing != SQUASH) + ["cut"] * (self.cut is not None)


@dataclass(frozen=True)
class ImageEncoder:
    """A tower in evaluation mode, with its specification.

    Batch-norm layers keep their pretrained statistics everywhere, so that a trajectory is its parameters and
    nothing else; `train()` is never called on the tower.
    """

    tower: nn.Module
    spec: ImageSpec

    @property
    def stem(self) -> nn.Module:
        """The tower up to the cut, or all of it; its modules are the tower's."""
        return self.tower if self.spec.cut is None else stem_of(self.tower, self.spec.cut)

    @cached_property
    def trained(self) -> nn.Module:
        """The tower, or what is behind the cut, as it is trained: lean, with the same parameters."""
        if self.spec.cut is None:
            return trained_tower(self.tower, (3, self.spec.size, self.spec.size))
        return trained_tower(rest_of(self.tower, self.spec.cut), self.spec.cut.shape)


def check_image_tower(config: ImageConfig) -> None:
    """Refuse a tower that cannot be built, as far as that is seen at once.

    Raises:
        ConfigError: the name is not known, the file of the weights is not there, or a setting does not fit the tower.
    """
    if is_dual(config.name):
        _check_dual(config)
        return
    if not timm.is_model(config.name):
        near = nearest(config.name.partition(".")[0], timm.list_models())
        raise ConfigError(
            f"image.name is {config.name!r}, which timm does not know{did_you_mean(near)} Any name of "
            "timm.list_models() will do, or a folder or hub name (OWNER/NAME) of a CLIP or SigLIP checkpoint, or "
            "open_clip:..."
        )
    if not config.projection:
        raise ConfigError(
            f"image.projection is off, but {config.name!r} is no dual encoder, which alone have projections; leave "
            "image.projection out"
        )
    if config.weights is not None and not Path(config.weights).is_file():
        raise ConfigError(
            f"image.weights is {config.weights!r}, which is no file; give a safetensors file of the tower"
        )


def is_dual(name: str) -> bool:
    """Return whether `image.name` is a dual encoder's: a folder, a hub name or open_clip's, none of them timm's."""
    return not timm.is_model(name) and (name.startswith(PREFIX) or "/" in name or Path(name).is_dir())


def _check_dual(config: ImageConfig) -> None:
    if config.name.startswith(PREFIX):
        need("open_clip", f"image.name {config.name}")
    if config.trains:
        raise ConfigError(
            f"image.name is {config.name!r}, the image side of a dual encoder, which pairstill takes frozen: the "
            "hypergradient through its training is not made for it. Set image.trainable to false, heads.image to true "
            "and heads.width, such as 512; a tower to train is any of timm, vit_base_patch16_clip_224 among them"
        )
    given = [name for name in ("pretrained", "weights", "init_seed") if getattr(config, name) not in (False, None, 0)]
    if given:
        raise ConfigError(
            f"image.{given[0]} is {getattr(config, given[0])!r}, but {config.name!r} is a dual encoder, which comes "
            f"with its weights; leave image.{given[0]} out"
        )


def build_image_encoder(config: ImageConfig) -> ImageEncoder:
    """Build the tower that `config` names, without a classifier.

    Raises:
        ConfigError: the name is not known, the weights do not fit the model, or the settings do not fit the tower.
    """
    check_image_tower(config)
    if config.name.startswith(PREFIX):
        return _dual_encoder(config, open_clip_images(config))
    if is_dual(config.name):
        return _dual_encoder(config, dual_images(config, str(Path(config.name).expanduser())))
    with seeded_globally("image tower", config.init_seed):
        tower = _create(config)
    if config.weights is not None:
        _load_weights(tower, Path(config.weights))
    known = tower.pretrained_cfg
    own = int(known["input_size"][-1])
    return _encoder(config, tower, own, tuple(known["mean"]), tuple(known["std"]))


def _dual_encoder(config: ImageConfig, side: DualImages) -> ImageEncoder:
    encoder = _encoder(config, side.tower, side.size, side.mean, side.std)
    return replace(encoder, spec=replace(encoder.spec, resizing=side.resizing))


def _encoder(config: ImageConfig, tower: Any, own: int, mean: Channels, std: Channels) -> ImageEncoder:
    """Return the tower with what it expects, which the settings may change."""
    tower = tower.eval().to(memory_format=torch.channels_last)
    size = config.size or own
    width = _measured_width(config, tower, size, own)
    spec = ImageSpec(config.name, size, config.mean or mean, config.std or std, width, _state_digest(tower))
    if config.trains and config.last_stages is not None:
        spec = replace(spec, cut=find_cut(tower, config.name, size, config.last_stages))
    return ImageEncoder(tower, spec)


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


def _measured_width(config: ImageConfig, tower: Any, size: int, own: int) -> int:
    """Return the width of the features that images of this size give; `num_features` is not always that."""
    try:
        features = _probe(tower, size, own)
    except Exception as error:  # less than one patch, no room for the places: each family says so in its own way
        raise ConfigError(
            f"image.size is {size}, and {config.name} cannot take an image of {size} x {size} ({_line(error)}); "
            f"its own size is {own}" + _other_sizes(config, size, own)
        ) from error
    if not isinstance(features, Tensor) or features.ndim != 2:
        found = f"shape {tuple(features.shape)}" if isinstance(features, Tensor) else f"type {type(features).__name__}"
        raise ConfigError(
            f"image.name is {config.name!r}, which gives an image features of {found}; a tower must give one row of "
            "features for each image: choose a model of image classification, such as resnet50 or vit_small_patch16_224"
        )
    if not bool(features.isfinite().all()):
        raise ConfigError(
            f"the image tower {config.name} gives features that are not finite for a black image; its weights are "
            "damaged: give others"
        )
    return features.shape[1]


@torch.no_grad()
def _probe(tower: Any, size: int, own: int) -> Any:
    """Return what the tower makes of a black image of this size, which it is set to."""
    if size != own and hasattr(tower, "set_input_size"):  # transformers, whose places are learned for one size
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # timm's own, of how it interpolates
            tower.set_input_size(img_size=(size, size))
    return tower(torch.zeros(1, 3, size, size))


def _other_sizes(config: ImageConfig, size: int, own: int) -> str:
    """Return which sizes near the one that was asked for would do, as the end of an error; each is tried."""
    near = {size // step * step + more for step in (16, 32, own // 7) for more in (0, step)}
    found = {own}
    if is_dual(config.name):
        return ""
    for other in {min(max(one, 16), 2 * own) for one in near} - {size, own}:
        try:
            with seeded_globally("image tower", config.init_seed):
                _probe(timm.create_model(config.name, num_classes=0).eval(), other, own)
        except Exception:  # this size will not do either
            continue
        found.add(other)
    alone = " alone" if len(found) == 1 else ""
    return f"; it takes {', '.join(map(str, sorted(found)))}{alone}: set image.size to one of them or leave it out"


def _line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return " ".join(str(error).split())[:SHOWN_CHARACTERS] or type(error).__name__


def _state_digest(module: nn.Module) -> str:
    state = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        state.update(name.encode())
        state.update(value.detach().contiguous().cpu().numpy().tobytes())
    return state.hexdigest()


def to_channels_last(images: Tensor) -> Tensor:
    """Return images (pairs, channels, height, width) in the memory layout that convolutions run fastest on."""
    return images.contiguous(memory_format=torch.channels_last)
