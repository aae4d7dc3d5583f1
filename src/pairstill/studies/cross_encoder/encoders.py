"""Encoders as people name them on the command line, beside those of a run: NAME, NAME=WEIGHTS, NAME,size=160."""

from dataclasses import replace
from typing import Any

from pairstill.config import ImageConfig, TextConfig
from pairstill.config.yaml_files import parse_yaml
from pairstill.core.errors import ConfigError

IMAGE_OPTIONS: dict[str, tuple[type, ...]] = {
    "weights": (str, type(None)),
    "pretrained": (bool,),
    "size": (int, type(None)),
    "init_seed": (int,),
    "projection": (bool,),
}
TEXT_OPTIONS: dict[str, tuple[type, ...]] = {
    "pooling": (str,),
    "max_tokens": (int,),
    "width": (int,),
    "file": (str,),
    "projection": (bool,),
}


def named_image(asked: str, own: ImageConfig) -> ImageConfig:
    """Return the settings of an image tower that is named as `image.name` does, with options.

    The name of the run's own tower starts from the run's settings, another one from the defaults; whether towers are
    trained, and in which precision, is the run's.

    Args:
        asked: `NAME`, with weights as `NAME=PATH`, with options as `NAME,size=160,weights=null`.
        own: the run's tower.

    Raises:
        ConfigError: an option does not exist, or its value is of another kind.

    Example:
        >>> named_image("resnet18,size=64", ImageConfig()).size
        64
    """
    name, options = _parse(asked, "weights", IMAGE_OPTIONS)
    if name == own.name:
        # a file of features is of the tower as it is
        return replace(own, **options, features=None if options else own.features)
    return replace(
        ImageConfig(name=name, trainable=own.trainable, last_stages=own.last_stages, precision=own.precision), **options
    )


def named_text(asked: str, own: TextConfig) -> TextConfig:
    """Return the settings of a text tower that is named as `text.name` does, with options.

    The name of the run's own tower starts from the run's settings, another one from the defaults.

    Args:
        asked: `NAME`, with options as `NAME,pooling=mean`.
        own: the run's tower.

    Raises:
        ConfigError: an option does not exist, or its value is of another kind.
    """
    name, options = _parse(asked, None, TEXT_OPTIONS)
    return replace(own, **options) if name == own.name else TextConfig(name, **options)


def image_label(config: ImageConfig, size: int) -> str:
    """Return an image tower as people tell it from others: its name, where its weights come from, its input.

    Example:
        >>> image_label(ImageConfig(name="resnet18", weights="w/a.safetensors"), 64)
        'resnet18 (a.safetensors, 64 px)'
    """
    untrained = f"untrained, seed {config.init_seed}" if config.init_seed else "untrained"
    origin = "pretrained" if config.pretrained else untrained
    if config.weights is not None:
        origin = config.weights.rpartition("/")[2]
    return f"{config.name} ({origin}, {size} px)"


def text_label(name: str, width: int) -> str:
    """Return a text tower as people tell it from others: its name and width."""
    return f"{name} ({width})"


def _parse(asked: str, short: str | None, known: dict[str, tuple[type, ...]]) -> tuple[str, dict[str, Any]]:
    """Return the name and the options; `short` is the option that `NAME=VALUE` means."""
    first, *rest = asked.split(",")
    name, equals, value = first.partition("=")
    if not name or (equals and short is None):
        shorter = "NAME=PATH, " if short else ""
        raise ConfigError(f"{asked!r} names no encoder; write NAME, {shorter}or NAME,option=value")
    options: dict[str, Any] = {}
    for item in [f"{short}={value}"] * bool(equals) + rest:
        key, has_value, text = item.partition("=")
        try:
            found = parse_yaml(text)
        except ValueError:
            found = text
        kinds = known.get(key)
        if kinds is None or not has_value or type(found) not in kinds:
            allowed = ", ".join(f"{k} ({' or '.join(_kind(t) for t in ts)})" for k, ts in known.items())
            raise ConfigError(f"{asked!r}: {item!r} is no option of an encoder; allowed are {allowed}")
        options[key] = found
    return name, options


def _kind(kind: type) -> str:
    return "null" if kind is type(None) else kind.__name__
