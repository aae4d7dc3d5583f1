"""Models that make one vector of a caption: with a pooling that is chosen, or, dual encoders, with their own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.config import TextConfig
from pairstill.core.errors import ConfigError
from pairstill.encoders.dual import without_projection
from pairstill.encoders.pretrained_text import encoder_digest, load_encoder

Tokens = Mapping[str, Tensor]
PADDED = ("siglip", "siglip2")
"""Dual encoders that have learned from captions padded to their full length, without an attention mask."""


class CaptionModel(Protocol):
    """What turns captions into tokens, and tokens into one vector each.

    Attributes:
        pooling: how the vectors of tokens become one.
        added_tokens: tokens that are added to each caption.
    """

    pooling: str
    added_tokens: int

    @property
    def digest(self) -> str:
        """SHA-256 of what determines the vectors, but for the pooling."""
        ...

    @property
    def vocabulary(self) -> int:
        """How many tokens it knows."""
        ...

    def tokens(self, captions: Sequence[str], max_tokens: int) -> Tokens:
        """Return the tokens of captions, cut after `max_tokens`; `input_ids` among them, (captions, tokens)."""
        ...

    def embed(self, tokens: Tokens) -> Tensor:
        """Return the vectors (captions, width)."""
        ...


def caption_model(config: TextConfig, source: str) -> CaptionModel:
    """Load what transformers has in a hub name or a local folder.

    Raises:
        ConfigError: transformers cannot load it or not as a whole, or the settings do not fit it.
    """
    tokenizer, model = load_encoder(config.name, source)
    tokenizer.padding_side = "right"  # so that a caption's first and last token are where they are without padding
    if tokenizer.pad_token is None:  # GPT-2 and its like; which token it is makes no difference behind the mask
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    if hasattr(model, "get_text_features"):
        return DualCaptions(config, source, tokenizer, model)
    if not config.projection:
        raise ConfigError(
            f"text.projection is off, but {config.name!r} is no dual encoder, which alone have projections; "
            "leave text.projection out"
        )
    return PooledCaptions(config, source, tokenizer, model)


class PooledCaptions:
    """The first, the last or the mean of the token vectors of an encoder or a decoder."""

    def __init__(self, config: TextConfig, source: str, tokenizer: Any, model: Any) -> None:
        """Hold tokenizer and model.

        Raises:
            ConfigError: the first token is asked for, of a model whose first token has not seen the others.
        """
        self._source, self._tokenizer, self._model = source, tokenizer, model
        self.pooling: str = config.pooling
        self._pool = _POOLINGS[config.pooling]
        self.added_tokens: int = tokenizer.num_special_tokens_to_add()
        if config.pooling == "cls" and self._first_is_blind():
            raise ConfigError(
                f"text.pooling is cls, but {config.name!r} reads from left to right: its first token knows nothing of "
                "the rest of a caption; set text.pooling to last (the last token) or mean"
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the folder's files, or of the weights."""
        return encoder_digest(self._source, self._model)

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows."""
        return self._model.get_input_embeddings().weight.shape[0]

    def tokens(self, captions: Sequence[str], max_tokens: int) -> Tokens:
        """Return the tokens of captions, with their mask."""
        return self._tokenizer(
            list(captions), padding=True, truncation=True, max_length=max_tokens, return_tensors="pt"
        )

    def embed(self, tokens: Tokens) -> Tensor:
        """Return the pooled vectors (captions, width)."""
        mask = tokens["attention_mask"]
        if not bool(mask.any(1).all()):
            raise ValueError("the tokenizer makes no token of a caption")
        return self._pool(self._model(**tokens).last_hidden_state, mask)

    @torch.no_grad()
    def _first_is_blind(self) -> bool:
        """Return whether the first token's vector stays as it is when the last token becomes another."""
        try:
            ids = torch.arange(4).expand(2, -1).clone() % self.vocabulary
            ids[1, -1] = 0
            first, other = self._model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[:, 0]
        except Exception:  # it is said when captions are encoded
            return False
        return bool(torch.equal(first, other))


class DualCaptions:
    """The text side of a dual encoder (CLIP, SigLIP): pooled, projected and padded as it has learned to be."""

    def __init__(self, config: TextConfig, source: str, tokenizer: Any, model: Any) -> None:
        """Hold tokenizer and model.

        Raises:
            ConfigError: the settings ask for another pooling, more tokens than it takes, or no projection where there
                is none to leave out.
        """
        text: Any = model.config.text_config
        most: int = text.max_position_embeddings
        if config.pooling != "cls":
            raise ConfigError(
                f"text.pooling is {config.pooling}, but {config.name!r} is a dual encoder, which pools in a way of its "
                "own; leave text.pooling out"
            )
        if config.max_tokens > most:
            raise ConfigError(
                f"text.max_tokens is {config.max_tokens}, but {config.name!r} takes {most} tokens at most: lower it"
            )
        if not config.projection:
            without_projection("text", config.name, model)
        self.pooling = "projected" if config.projection else "pooled"
        self._tokenizer, self._model = tokenizer, model
        self._length = most if model.config.model_type in PADDED else 0
        self._vocabulary: int = text.vocab_size
        self.added_tokens: int = tokenizer.num_special_tokens_to_add()
        self._digest = encoder_digest(source, model)
        model.vision_model = None  # the other side takes memory, and is not used

    @property
    def digest(self) -> str:
        """SHA-256 of the folder's files, or of the weights."""
        return self._digest

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows."""
        return self._vocabulary

    def tokens(self, captions: Sequence[str], max_tokens: int) -> Tokens:
        """Return the tokens of captions, padded to the full length where the model has learned so."""
        tokens: Tokens = self._tokenizer(
            list(captions), padding=True, truncation=True, max_length=max_tokens, return_tensors="pt"
        )
        more, fill = self._length - tokens["input_ids"].shape[1], {"input_ids": self._tokenizer.pad_token_id}
        if more <= 0:
            return tokens
        return {name: F.pad(value, (0, more), value=fill.get(name, 0)) for name, value in tokens.items()}

    def embed(self, tokens: Tokens) -> Tensor:
        """Return the vectors (captions, width)."""
        found = self._model.get_text_features(**tokens)
        return getattr(found, "pooler_output", found)


def _first_token(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden[:, 0]


def _last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden)), mask.sum(1) - 1]


def _mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


_POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _first_token,
    "last": _last_token,
    "mean": _mean_pool,
}
