"""Files of rows that somebody has computed already: text embeddings, or features of a frozen image tower.

A file is a safetensors with `digests` (rows, 32), uint8, the SHA-256 of what each row is of, and `vectors`
(rows, width), float16 or float32. Its header says in `kind` which of the two it holds, and in `digests` what was
hashed.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pairstill.core.errors import ArtifactError, DataError, list_problems
from pairstill.storage import file_digest, open_tensors, save_tensors

Kind = Literal["texts", "features"]
SCHEMES: dict[Kind, str] = {"texts": "sha256 of the caption's UTF-8", "features": "sha256 of the image file"}
"""What is hashed to find a row, as the file's header must state it."""
DTYPES = {"float16": torch.float16, "float32": torch.float32}
TENSORS = {"digests", "vectors"}


def caption_digest(caption: str) -> bytes:
    """Return the digest that a caption's row is found by; the caption is in the form that `data.captions` names.

    Example:
        >>> caption_digest("a dog").hex()[:8]
        '7dbdf68a'
    """
    return hashlib.sha256(caption.encode()).digest()


@dataclass(frozen=True)
class RowFile:
    """An open file of rows.

    Attributes:
        path: the file.
        digest: SHA-256 of the whole file.
        vectors: the rows (rows, width), as they are stored.
        places: the row of each digest.
    """

    path: Path
    digest: str
    vectors: Tensor = field(repr=False)
    places: dict[bytes, int] = field(repr=False)

    @property
    def width(self) -> int:
        """Width of a row."""
        return self.vectors.shape[1]

    @staticmethod
    def open(path: Path, kind: Kind) -> "RowFile":
        """Read and check a file.

        Raises:
            ArtifactError: it is missing, damaged or of another kind, or a row stands twice or is not finite.
        """
        with open_tensors(path) as stored:
            header = stored.metadata()
            if header.get("kind") != kind or header.get("digests") != SCHEMES[kind]:
                said = {key: header.get(key) for key in ("kind", "digests")}
                raise ArtifactError(
                    f"{path} says of itself {said}; a file of {kind} says kind {kind!r}, digests {SCHEMES[kind]!r}"
                )
            if set(stored.keys()) != TENSORS:
                raise ArtifactError(f"{path} holds {', '.join(stored.keys())}; it must hold {' and '.join(TENSORS)}")
            digests, vectors = stored.get_tensor("digests"), stored.get_tensor("vectors")
        _check(path, digests, vectors)
        places = {row.tobytes(): place for place, row in enumerate(digests.numpy())}
        if len(places) != len(digests):
            raise ArtifactError(f"{path} holds {len(digests) - len(places)} digests twice; each may have one row")
        return RowFile(path, file_digest(path), vectors, places)

    def take(self, digests: Sequence[bytes], name: Callable[[int], str], what: str) -> Tensor:
        """Return the rows of `digests`, (digests, width), in float32.

        Args:
            digests: what is looked for.
            name: how a message calls the one with this number.
            what: what they all are, such as `captions`.

        Raises:
            DataError: the file lacks some of them; the message lists them.
        """
        missing = list(dict.fromkeys(name(i) for i, digest in enumerate(digests) if digest not in self.places))
        if missing:
            raise DataError(f"{self.path} has no row for {len(missing)} {what}:\n{list_problems(missing)}")
        rows = torch.tensor([self.places[digest] for digest in digests], dtype=torch.int64)
        return self.vectors[rows].float()


def _check(path: Path, digests: Tensor, vectors: Tensor) -> None:
    if digests.dtype != torch.uint8 or digests.ndim != 2 or digests.shape[1] != 32:
        raise ArtifactError(
            f"{path}: digests are {digests.dtype} {tuple(digests.shape)}; they must be uint8 (rows, 32)"
        )
    if vectors.dtype not in DTYPES.values() or vectors.ndim != 2 or len(vectors) != len(digests) or not vectors.numel():
        raise ArtifactError(
            f"{path}: vectors are {vectors.dtype} {tuple(vectors.shape)}; they must be {' or '.join(DTYPES)}, "
            f"({len(digests)} rows, width)"
        )
    wrong = (~vectors.isfinite().all(1)).nonzero().flatten()
    if len(wrong):
        raise ArtifactError(f"{path}: {len(wrong)} vectors are not finite, the first in row {int(wrong[0])}")


def write_row_file(path: Path, kind: Kind, digests: Sequence[bytes], vectors: Tensor, about: str) -> int:
    """Write rows, each digest once, and return how many there are.

    Args:
        path: the file.
        kind: what the rows are.
        digests: SHA-256 of what each row is of; of equal ones the first row counts.
        vectors: the rows (digests, width), float16 or float32.
        about: what they were made with, for people.

    Raises:
        DataError: a value is not finite, in float16 perhaps because it is too large for it.
    """
    if not bool(vectors.isfinite().all()):
        raise DataError(f"a value of the {kind} is not finite in {vectors.dtype}; write float32")
    first = {digest: place for place, digest in reversed(list(enumerate(digests)))}
    kept = sorted(first.values())
    tensors = {
        "digests": torch.tensor([list(digests[place]) for place in kept], dtype=torch.uint8),
        "vectors": vectors[torch.tensor(kept)],
    }
    save_tensors(path, tensors, {"kind": kind, "digests": SCHEMES[kind], "about": about})
    return len(kept)
