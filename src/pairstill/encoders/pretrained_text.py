"""Checkpoints of transformers, whole or refused: nothing is filled in at random."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pairstill.core.errors import SHOWN_CHARACTERS, ConfigError
from pairstill.core.formatting import did_you_mean, nearest
from pairstill.core.rng import seeded_globally
from pairstill.encoders.hub import without_waiting
from pairstill.encoders.weights import check_finite, check_keys
from pairstill.storage import digest, digest_all, file_digest

_ENCODER_FILES = (".json", ".txt", ".model", ".safetensors")
"""What a folder of transformers keeps tokenizers, settings and weights in."""

KNOWN = ("hashed_ngrams", "minilm", "bert-base-uncased", "distilbert-base-uncased", "BAAI/bge-base-en-v1.5")
"""Text towers that settings and pages of this project name; the hub has others, which nobody can list offline."""
MAX_LAYERS = 1000


def load_encoder(name: str, source: str) -> tuple[Any, Any]:
    """Return the tokenizer and the model in evaluation mode, of a hub name or a local folder.

    Of an encoder with a decoder (T5, BART) the model is the encoder alone; of a dual encoder (CLIP, SigLIP) it is the
    whole, with `get_text_features`.

    Args:
        name: what the settings call it, for errors.
        source: the hub name, or the folder.

    Raises:
        ConfigError: transformers cannot load it, weights are missing or left over, or hold values that are not finite.
    """
    from transformers import AutoTokenizer

    with loading("text.name", name, source, "a tokenizer"):
        tokenizer: Any = AutoTokenizer.from_pretrained(source)
        model, found = read_model(source)
    check_model("text.name", name, model, found)
    model = model.eval().requires_grad_(False)
    return tokenizer, model.get_encoder() if getattr(model.config, "is_encoder_decoder", False) else model


@contextmanager
def loading(setting: str, name: str, source: str, beside: str) -> Iterator[None]:
    """Load with transformers in the block: quietly, and without waiting for a hub that does not answer.

    Args:
        setting: what names the checkpoint in the settings.
        name: the name there.
        source: the hub name, or the folder.
        beside: what is needed beside config.json and weights.

    Raises:
        ConfigError: the block raised anything.
    """
    try:
        # what it fills in at random, such as a pooler that nothing uses, shall at least be the same every time
        with _quiet_loading(), seeded_globally("text tower"), without_waiting(asks=not Path(source).is_dir()):
            yield
    except Exception as error:  # it raises whatever a damaged file leads to, KeyError and ZeroDivisionError included
        raise ConfigError(
            f"{setting} is {name!r}{_near(name)} transformers cannot load it ({_reason(error)}); "
            f"give a hub name, or a local folder with config.json, {beside} and safetensors weights that belong "
            "together"
        ) from error


def read_model(source: str, **more: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return a model of transformers and what its loading report says; of T5 and its like, without the decoder."""
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

    settings: Any = AutoConfig.from_pretrained(source)
    layers = getattr(settings, "num_hidden_layers", None)
    if isinstance(layers, int) and layers > MAX_LAYERS:  # which would all be made first
        raise ValueError(f"its config.json asks for {layers} layers, more than {MAX_LAYERS}")
    texts: Any = MODEL_FOR_TEXT_ENCODING_MAPPING
    alone = type(settings) in texts and texts[type(settings)].__name__.endswith("EncoderModel")
    kind: Any = AutoModelForTextEncoding if alone else AutoModel
    return kind.from_pretrained(
        source, config=settings, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True, **more
    )


def check_model(setting: str, name: str, model: Any, found: Mapping[str, Any]) -> None:
    """Refuse a model whose weights are not all there, not its own, or not finite.

    Args:
        setting: what names the checkpoint in the settings.
        name: the name there.
        model: the model.
        found: what its loading report says.

    Raises:
        ConfigError: it is so.
    """
    _check_keys(f"{setting} is {name!r}", model, found)
    check_finite(f"{setting} is {name!r}, which", model)


def encoder_digest(source: str, model: Any) -> str:
    """Return a digest of all that embeddings depend on: of a local folder's files, else of the loaded tensors."""
    folder = Path(source)
    files = sorted(path for path in folder.glob("*") if path.suffix in _ENCODER_FILES and path.is_file())
    if files:
        return digest(*(part for path in files for part in (path.name, file_digest(path))))
    # as bytes, because numpy knows no bfloat16
    tensors = (value.reshape(-1).view(torch.uint8) for _, value in sorted(model.state_dict().items()))
    return digest_all(value.numpy().tobytes() for value in tensors)


def _near(name: str) -> str:
    """Return a question about the names that are near to one, unless it is one of them."""
    near = [] if name in KNOWN else nearest(name, KNOWN)
    return did_you_mean(near) if near else ":"


def _reason(error: Exception) -> str:
    """Return what an error says, in one line; a bare KeyError says nothing without its kind."""
    text = " ".join(str(error).split())[:SHOWN_CHARACTERS]
    return text if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {text}"


def _check_keys(what: str, model: Any, found: Mapping[str, Any]) -> None:
    """Refuse weights that are not the model's, but for poolers, and what stands beside it, which are not used."""
    below = f"{model.base_model_prefix}."
    saved_as = model.config.architectures
    has_head = isinstance(saved_as, list) and type(model).__name__ not in saved_as
    check_keys(
        f"{what}, whose weights are not those of the {type(model).__name__} in its config.json",
        missing=(key for key in found["missing_keys"] if not _is_pooler(key)),
        other=(f"{key} is {tuple(got)}, not {tuple(wanted)}" for key, got, wanted in found["mismatched_keys"]),
        left_over=(
            key for key in found["unexpected_keys"] if not (_is_pooler(key) or (has_head and not key.startswith(below)))
        ),
    )


def _is_pooler(key: str) -> bool:
    return "pooler" in key.split(".")


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Silence transformers' progress bars and reports, which would break into ours, and leave them as they were."""
    from transformers.utils import logging as theirs

    shown, verbosity = theirs.is_progress_bar_enabled(), theirs.get_verbosity()
    theirs.disable_progress_bar()
    theirs.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        theirs.set_verbosity(verbosity)
        if shown:
            theirs.enable_progress_bar()
