"""The real parts of a phase that is made of some: photos as the files that they were, and captions with weights."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairstill.config.bounds import MOST
from pairstill.core.errors import ArtifactError, DataError
from pairstill.data.loader import Resizing, normalise, picture

LARGEST = MOST["size"]


def decoded(photos: Sequence[bytes], encoder: Mapping[str, Any], background: str = "white") -> Tensor:
    """Return photos as an image tower takes them, (photos, 3, size, size): made square, and normalised.

    Args:
        photos: the content of each file.
        encoder: the tower's specification, with `size`, `mean`, `std`, and `resizing` if it is not the common one.
        background: what shows through transparent pixels, as `data.background` has it.

    Raises:
        ArtifactError: a photo cannot be decoded, or the size is none.
    """
    size, resizing = encoder["size"], Resizing(**encoder.get("resizing", {}))
    if type(size) is not int or not 0 < size <= LARGEST:
        raise ArtifactError(f"the distilled set has photos for an image tower of size {size!r}; distil again")
    pixels = []
    for number, content in enumerate(photos):
        try:
            pixels.append(picture(content, size, resizing, background=background))
        except DataError as error:
            raise ArtifactError(f"photo {number} of the distilled set {error}; copy the set anew") from error
    return normalise(torch.stack(pixels), encoder["mean"], encoder["std"])


def digests_of(photos: Sequence[bytes]) -> Tensor:
    """Return the SHA-256 of each photo as bytes (photos, 32), which stand for the files among the tensors of a set."""
    return torch.tensor([list(hashlib.sha256(photo).digest()) for photo in photos], dtype=torch.uint8)


def by_digest(digests: Tensor, files: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the photos with these digests (photos, 32), which must be among the files.

    Raises:
        ArtifactError: one is not.
    """
    known = {hashlib.sha256(content).digest(): content for content in files}
    try:
        return tuple(known[bytes(row)] for row in digests.tolist())
    except KeyError as error:
        raise ArtifactError("a photo of the distilled set is missing, or was changed; copy the whole folder") from error


@dataclass(frozen=True)
class Mixtures:
    """Texts as weighted sums of the embeddings of real captions: t_i = sum_k w_ik e(c_ik), for any encoder e.

    Attributes:
        captions: the captions of each text; all texts have as many.
        weights: (texts, captions); 0 where a caption plays no part.
    """

    captions: tuple[tuple[str, ...], ...]
    weights: Tensor

    def distinct(self) -> list[str]:
        """Return every caption that plays a part, once, in the order in which they come up; the first if none does."""
        used = zip(self.captions, self.weights.tolist(), strict=True)
        playing = dict.fromkeys(c for row, weights in used for c, w in zip(row, weights, strict=True) if w)
        return list(playing) or [self.captions[0][0]]  # texts of nothing but 0 have a width, too

    def mixed(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Return the texts (texts, width) of the embeddings of their captions.

        Args:
            embeddings: (width,) of the captions that `distinct` names, by the caption.

        Example:
            >>> mixtures = Mixtures((("a", "b"),), torch.tensor([[0.5, 2.0]]))
            >>> mixtures.mixed({"a": torch.tensor([2.0, 0.0]), "b": torch.tensor([0.0, 1.0])})
            tensor([[1., 2.]])
        """
        zero = torch.zeros_like(next(iter(embeddings.values())))
        rows = torch.stack([torch.stack([embeddings.get(c, zero) for c in row]) for row in self.captions])
        return torch.einsum("tk,tkw->tw", self.weights, rows)

    def to_json(self) -> list[list[str]]:
        """Return the captions of each text."""
        return [list(row) for row in self.captions]

    @staticmethod
    def of(captions: Any, weights: Tensor) -> "Mixtures":
        """Return the mixtures of captions as JSON has them, and their weights.

        Raises:
            TypeError: the captions are no lists of strings; ValueError: they do not go with the weights.
        """
        rows = tuple(tuple(row) for row in captions)
        if not all(isinstance(caption, str) for row in rows for caption in row):
            raise TypeError(f"{captions!r}, which must be lists of captions")
        if (
            weights.shape != (len(rows), *{len(row) for row in rows})
            or not weights.numel()
            or not bool(weights.isfinite().all())
        ):
            raise ValueError(f"mixtures of {len(rows)} texts with weights {tuple(weights.shape)}")
        return Mixtures(rows, weights)
