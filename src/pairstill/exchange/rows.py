"""A distilled set as rows, one for each pair, and back to the bit."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import Tensor

from pairstill.core.errors import ArtifactError
from pairstill.distilled import DistilledSet
from pairstill.distilled.real import digests_of
from pairstill.exchange.public import public

TENSORS = ("pixels", "text_embedding", "mixture_weights")
SIMILARITY = "similarity_"


@dataclass(frozen=True)
class PairRow:
    """One distilled pair.

    Attributes:
        phase: its phase, from 1.
        index: its row and column in the phase's similarity matrix, from 0.
        tensors: float32 by name: `pixels` (3, height, width) in the tower's normalised input space, `text_embedding`
            (width,), and `similarity_matrix` (pairs,) or what a similarity of low rank stores of the pair. A photo that
            is kept has no pixels; a text that is a mixture has `mixture_weights` (captions,).
        caption: the real caption that the pair started from.
        source: the real image that it started from.
        photo: the file of a photo that is kept; else empty.
        mixture: the captions that the text is made of; none for an embedding.
    """

    phase: int
    index: int
    tensors: Mapping[str, Tensor]
    caption: str
    source: str
    photo: bytes = b""
    mixture: tuple[str, ...] = ()

    @property
    def ending(self) -> str:
        """The ending of the picture's file, without a dot: that of a photo that is kept, or `png`."""
        return (PurePosixPath(self.source).suffix[1:].lower() or "img") if self.photo else "png"

    @property
    def key(self) -> str:
        """The pair's name, such as `phase1-0007`."""
        return f"phase{self.phase}-{self.index:04d}"

    @property
    def facts(self) -> dict[str, Any]:
        """All but the tensors and the photo, by name."""
        facts = {"phase": self.phase, "index": self.index, "caption": self.caption, "source": self.source}
        return {**facts, **({"mixture": list(self.mixture)} if self.mixture else {})}

    def facts_with_rates(self, distilled: DistilledSet) -> dict[str, Any]:
        """Return the facts and the learned rates of the pair's phase in its set."""
        phase = distilled.phases[self.phase - 1]
        return {**self.facts, "inner_lr_image": phase.inner_lr_image, "inner_lr_text": phase.inner_lr_text}


def rows_of(distilled: DistilledSet) -> Iterator[PairRow]:
    """Yield the pairs in order.

    Raises:
        ArtifactError: a tensor is not float32, which the formats hold.
    """
    for name, value in distilled.tensors().items():
        if value.dtype != torch.float32 and not name.endswith("/photos"):
            raise ArtifactError(f"distilled set: {name} is {value.dtype}; only float32 is exported without loss")
    for number, phase in enumerate(distilled.phases, start=1):
        factors = {f"{SIMILARITY}{n}": f for n, f in sorted(phase.similarity_factors.items()) if f.ndim > 0}
        for i in range(phase.num_pairs):
            tensors = {} if phase.photos else {"pixels": phase.images[i]}
            tensors |= {"text_embedding": phase.text_embeddings[i]}
            tensors |= {name: factor[i] for name, factor in factors.items()}
            photo, mixture = phase.photos[i] if phase.photos else b"", ()
            if phase.mixtures is not None:
                tensors["mixture_weights"], mixture = phase.mixtures.weights[i], phase.mixtures.captions[i]
            yield PairRow(number, i, tensors, phase.captions[i], phase.sources[i], photo, mixture)


def describe(distilled: DistilledSet) -> dict[str, Any]:
    """Return all that rows do not hold as JSON values: shapes, constants, rates, encoders, provenance.

    A float32 constant survives as a JSON number: it is written with all its digits.
    """
    description = public(distilled.description())
    description["image_shape"] = list(distilled.phases[0].images.shape[1:])
    for entry, phase in zip(description["phases"], distilled.phases, strict=True):
        del entry["pairs"]
        if phase.photos:
            entry["photos"] = "kept"
        entry["factor_shapes"] = {name: list(f.shape) for name, f in sorted(phase.similarity_factors.items())}
        entry["constants"] = {n: float(f) for n, f in sorted(phase.similarity_factors.items()) if f.ndim == 0}
    return description


def set_of(description: Mapping[str, Any], rows: Iterable[PairRow]) -> DistilledSet:
    """Return the distilled set of a description and its rows, whose tensors may be flat.

    Raises:
        ArtifactError: a pair is missing, or stands twice, or parts do not fit together.
        KeyError: something is missing; TypeError and ValueError: something is of another kind.
    """
    known: dict[tuple[int, int], PairRow] = {}
    for row in rows:
        if (row.phase, row.index) in known:
            raise ArtifactError(f"pair {row.index} of phase {row.phase} stands twice")
        known[row.phase, row.index] = row
    entries, tensors, photos = [], {}, []
    for number, entry in enumerate(description["phases"], start=1):
        taken = _rows_of_phase(number, entry, known)
        entries.append({**entry, "pairs": [row.facts for row in taken]})
        found = _tensors_of(description["image_shape"], number, entry, taken)
        tensors |= {f"phase{number}/{name}": value for name, value in found.items()}
        photos += [row.photo for row in taken if row.photo]
    if known:
        raise ArtifactError(f"{len(known)} pairs belong to no phase, such as {next(iter(known.values())).key}")
    return DistilledSet.from_parts({**description, "phases": entries}, tensors, photos)


def _rows_of_phase(number: int, entry: Mapping[str, Any], known: dict[tuple[int, int], PairRow]) -> list[PairRow]:
    """Take the rows of one phase out of `known` and return them in order."""
    pairs = int(entry["num_pairs"])
    rows = [known.pop((number, index)) for index in range(min(pairs, len(known))) if (number, index) in known]
    if len(rows) != pairs or not rows:
        raise ArtifactError(f"phase {number} lacks {pairs - len(rows)} of its {pairs} pairs")
    return rows


def _tensors_of(
    image_shape: list[int], number: int, entry: Mapping[str, Any], rows: list[PairRow]
) -> dict[str, Tensor]:
    """Return the tensors of a phase by name, such as `images` and `similarity/matrix`."""

    def stacked(name: str, *shape: int) -> Tensor:
        try:
            return torch.stack([row.tensors[name].flatten() for row in rows]).reshape(len(rows), *shape)
        except RuntimeError as error:  # torch's word for rows that differ in length
            raise ArtifactError(f"phase {number}: {name} is not of one shape {shape} in all pairs ({error})") from error

    found = {
        f"similarity/{name}": torch.tensor(entry["constants"][name])
        if not shape
        else stacked(f"{SIMILARITY}{name}", *shape[1:])
        for name, shape in entry["factor_shapes"].items()
    }
    found["text_embeddings"] = stacked("text_embedding", -1)
    if entry.get("photos") is None:
        found["images"] = stacked("pixels", *image_shape)
    else:
        found["photos"] = digests_of([row.photo for row in rows])
    if rows[0].mixture:
        found["mixtures/weights"] = stacked("mixture_weights", -1)
    return found
