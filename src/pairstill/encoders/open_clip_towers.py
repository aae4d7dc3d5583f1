"""Both sides of open_clip's dual encoders, frozen; the package is optional."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from pairstill.config import ImageConfig, TextConfig
from pairstill.core.errors import SHOWN_CHARACTERS, ConfigError
from pairstill.core.extras import need
from pairstill.core.rng import seeded_globally
from pairstill.data.loader import INTERPOLATIONS, Resizing
from pairstill.encoders.dual import DualImages
from pairstill.encoders.hub import without_waiting
from pairstill.encoders.pretrained_text import encoder_digest
from pairstill.encoders.weights import check_finite
from pairstill.storage import digest

PREFIX = "open_clip:"
_SAMPLE = "A dog's 2nd toy -- (green),\n not RED!"
"""Its tokens stand for the tokenizer in digests, which open_clip keeps in code and not in files."""


def open_clip_images(config: ImageConfig) -> DualImages:
    """Load the image side of one of open_clip's models.

    Raises:
        ConfigError: open_clip cannot load it, or it prepares images in a way that is not understood.
        MissingDependencyError: open_clip is not installed.
    """
    model, _ = _load("image", config.name, config.size)
    tower, said = model.visual, model.visual.preprocess_cfg
    if not config.projection:
        _without_projection("image", config.name, tower, "proj")
    sides = {said["size"]} if isinstance(said["size"], int) else set(said["size"])
    known = said["resize_mode"] in ("shortest", "squash") and said["interpolation"] in INTERPOLATIONS
    if not known or len(sides) != 1:
        raise ConfigError(
            f"image.name is {config.name!r}, which prepares images with {dict(said)}; pairstill takes squares, with "
            f"resize_mode shortest or squash and interpolation {', '.join(INTERPOLATIONS)}: choose another model"
        )
    kind = "crop" if said["resize_mode"] == "shortest" else "squash"
    resizing = Resizing(kind, 1.0, said["interpolation"])
    return DualImages(_Visual(tower), sides.pop(), tuple(said["mean"]), tuple(said["std"]), resizing)


class _Visual(nn.Module):
    """The image side, of which some models (CoCa) give tokens beside the features."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixels: Tensor) -> Tensor:
        found = self.visual(pixels)
        return found[0] if isinstance(found, tuple) else found


class OpenClipCaptions:
    """The text side of one of open_clip's models; captions are padded to its full length."""

    def __init__(self, config: TextConfig) -> None:
        """Load model and tokenizer.

        Raises:
            ConfigError: open_clip cannot load it, or the settings do not fit it.
            MissingDependencyError: open_clip is not installed.
        """
        self._model, self._tokenizer = _load("text", config.name, None)
        self._length: int = self._model.context_length
        if config.pooling != "cls":
            raise ConfigError(
                f"text.pooling is {config.pooling}, but {config.name!r} is a dual encoder, which pools in a way of its "
                "own; leave text.pooling out"
            )
        if config.max_tokens > self._length:
            raise ConfigError(
                f"text.max_tokens is {config.max_tokens}, but {config.name!r} takes {self._length} tokens at most: "
                "lower it"
            )
        if not config.projection:
            part = self._model if hasattr(self._model, "text_projection") else self._model.text
            _without_projection("text", config.name, part, "text_projection")
        self.pooling = "projected" if config.projection else "pooled"
        self.added_tokens = 2
        self._model.visual = None  # the other side takes memory, and is not used
        folder = config.name.removeprefix(PREFIX)
        sample = self.tokens([_SAMPLE], self._length)["input_ids"]
        self._digest = digest(encoder_digest(folder, self._model), str(sample.tolist()))

    @property
    def digest(self) -> str:
        """SHA-256 of weights and tokens."""
        return self._digest

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows."""
        return self._model.vocab_size

    def tokens(self, captions: Sequence[str], max_tokens: int) -> Mapping[str, Tensor]:
        """Return the tokens of captions (captions, full length), zeros or the tokenizer's own padding behind them."""
        ids = self._tokenizer(list(captions), context_length=max_tokens)
        padding = getattr(getattr(self._tokenizer, "tokenizer", None), "pad_token_id", 0) or 0
        return {"input_ids": F.pad(ids, (0, self._length - ids.shape[1]), value=padding)}

    def embed(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Return the vectors (captions, width)."""
        return self._model.encode_text(tokens["input_ids"])


def _load(side: str, name: str, size: int | None) -> tuple[Any, Any]:
    """Return a model in evaluation mode, and its tokenizer."""
    need("open_clip", f"{side}.name {name}")
    open_clip: Any = import_module("open_clip")
    model_name, tag = _known_as(f"{side}.name", name)
    try:
        with seeded_globally("open_clip"), without_waiting(asks=not model_name.startswith("local-dir:")):
            model: Any = open_clip.create_model(
                model_name, pretrained=tag, force_image_size=size, require_pretrained=True
            )
            tokenizer: Any = open_clip.get_tokenizer(model_name)
    except Exception as error:  # it raises whatever a damaged file leads to
        reason = " ".join(str(error).split())[:SHOWN_CHARACTERS]
        raise ConfigError(
            f"{side}.name is {name!r}: open_clip cannot load it ({type(error).__name__}: {reason}); give "
            f"{PREFIX}ARCHITECTURE/WEIGHTS of its list, {PREFIX}OWNER/NAME of the hub, or {PREFIX}FOLDER with "
            "open_clip_config.json and open_clip_model.safetensors"
        ) from error
    check_finite(f"{side}.name is {name!r}, which", model)
    if getattr(tokenizer, "tokenizer_mode", ""):
        raise ConfigError(
            f"{side}.name is {name!r}, whose tokenizer has mode {tokenizer.tokenizer_mode}, which pairstill does not "
            "know; choose another model"
        )
    return model.eval().requires_grad_(False), tokenizer


def _known_as(setting: str, name: str) -> tuple[str, str | None]:
    """Return open_clip's own name of a model, and the tag of its weights if it has one."""
    open_clip: Any = import_module("open_clip")
    asked = name.removeprefix(PREFIX)
    if Path(asked).expanduser().is_dir():
        return f"local-dir:{Path(asked).expanduser()}", None
    first, slash, rest = asked.partition("/")
    if first in open_clip.list_models():
        tags = open_clip.list_pretrained_tags_by_model(first)
        if rest in tags:
            return first, rest
        raise ConfigError(f"{setting} is {name!r}, but weights of {first} are {', '.join(tags) or 'not listed'}")
    if slash:
        return f"hf-hub:{asked}", None
    raise ConfigError(
        f"{setting} is {name!r}, but {asked!r} is no folder and no architecture of open_clip; give "
        f"{PREFIX}ARCHITECTURE/WEIGHTS (open_clip.list_pretrained() has all), {PREFIX}OWNER/NAME or {PREFIX}FOLDER"
    )


def _without_projection(side: str, name: str, part: Any, attribute: str) -> None:
    if not isinstance(getattr(part, attribute, None), Tensor | nn.Linear):
        raise ConfigError(
            f"{side}.projection is off, but {name!r} has no projection of its own that could be left out; leave "
            f"{side}.projection out of the settings"
        )
    setattr(part, attribute, None)
