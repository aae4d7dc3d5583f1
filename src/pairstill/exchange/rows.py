"""A distilled set as rows, one for each pair, and back to the bit."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairstill.core.errors import ArtifactError
from pairstill.distilled import DistilledPhase, DistilledSet

TENSORS = ("pixels", "text_embedding")
SIMILARITY = "similarity_"


@dataclass(frozen=True)
class PairRow:
    """One distilled pair.

    Attributes:
        phase: its phase, from 1.
        index: its row and column in the phase's similarity matrix, from 0.
        tensors: float32 by name: `pixels` (3, height, width) in the tower's normalised input space, `text_embedding`
            (width,), and `similarity_matrix` (pairs,) or what a similarity of low rank stores of the pair.
        caption: the real caption that the pair started from.
        source: the real image that it started from.
    """

    phase: int
    index: int
    tensors: Mapping[str, Tensor]
    caption: str
    source: str

    @property
    def key(self) -> str:
        """The pair's name, such as `phase1-0007`."""
        return f"phase{self.phase}-{self.index:04d}"

    @property
    def facts(self) -> dict[str, Any]:
        """All but the tensors, by name."""
        return {"phase": self.phase, "index": self.index, "caption": self.caption, "source": self.source}

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
        if value.dtype != torch.float32:
            raise ArtifactError(f"distilled set: {name} is {value.dtype}; only float32 is exported without loss")
    for number, phase in enumerate(distilled.phases, start=1):
        factors = {f"{SIMILARITY}{n}": f for n, f in sorted(phase.similarity_factors.items()) if f.ndim > 0}
        for i in range(phase.num_pairs):
            tensors = {"pixels": phase.images[i], "text_embedding": phase.text_embeddings[i]}
            tensors |= {name: factor[i] for name, factor in factors.items()}
            yield PairRow(number, i, tensors, phase.captions[i], phase.sources[i])


def describe(distilled: DistilledSet) -> dict[str, Any]:
    """Return all that rows do not hold as JSON values: shapes, constants, rates, encoders, provenance.

    A float32 constant survives as a JSON number: it is written with all its digits.
    """
    description = distilled.description()
    description["image_shape"] = list(distilled.phases[0].images.shape[1:])
    for entry, phase in zip(description["phases"], distilled.phases, strict=True):
        del entry["pairs"]
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
    entries, tensors = [], {}
    for number, entry in enumerate(description["phases"], start=1):
        phase = _phase_of(description["image_shape"], number, entry, known)
        pairs = [{"caption": c, "source": s} for c, s in zip(phase.captions, phase.sources, strict=True)]
        entries.append({**entry, "pairs": pairs})
        tensors |= {f"phase{number}/images": phase.images, f"phase{number}/text_embeddings": phase.text_embeddings}
        tensors |= {f"phase{number}/similarity/{name}": f for name, f in phase.similarity_factors.items()}
    if known:
        raise ArtifactError(f"{len(known)} pairs belong to no phase, such as {next(iter(known.values())).key}")
    return DistilledSet.from_parts({**description, "phases": entries}, tensors)


def _phase_of(
    image_shape: list[int], number: int, entry: Mapping[str, Any], known: dict[tuple[int, int], PairRow]
) -> DistilledPhase:
    """Take the rows of one phase out of `known` and return the phase."""
    pairs = int(entry["num_pairs"])
    rows = [known.pop((number, index)) for index in range(min(pairs, len(known))) if (number, index) in known]
    if len(rows) != pairs or not rows:
        raise ArtifactError(f"phase {number} lacks {pairs - len(rows)} of its {pairs} pairs")

    def stacked(name: str, *shape: int) -> Tensor:
        try:
            return torch.stack([row.tensors[name].flatten() for row in rows]).reshape(len(rows), *shape)
        except RuntimeError as error:  # torch's word for rows that differ in length
            raise ArtifactError(f"phase {number}: {name} is not of one shape {shape} in all pairs ({error})") from error

    factors = {
        name: torch.tensor(entry["constants"][name]) if not shape else stacked(f"{SIMILARITY}{name}", *shape[1:])
        for name, shape in entry["factor_shapes"].items()
    }
    return DistilledPhase(
        images=stacked("pixels", *image_shape),
        text_embeddings=stacked("text_embedding", -1),
        similarity_factors=factors,
        inner_lr_image=float(entry["inner_lr_image"]),
        inner_lr_text=float(entry["inner_lr_text"]),
        captions=tuple(row.caption for row in rows),
        sources=tuple(row.source for row in rows),
    )
