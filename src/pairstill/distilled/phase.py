"""One phase of a distilled set: its pairs, its similarity, and its tensors by name."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor

from pairstill.core.errors import ArtifactError
from pairstill.distilled.real import Mixtures, by_digest, decoded, digests_of


@dataclass(frozen=True)
class TowerRates:
    """Learned rates of students with one of several image towers.

    Attributes:
        image: rate of the image side.
        text: rate of the text side.
    """

    image: float
    text: float

    @classmethod
    def mean(cls, rates: "Iterable[TowerRates]") -> "TowerRates":
        """Return the geometric mean, side by side: rates differ by factors.

        Example:
            >>> TowerRates.mean([TowerRates(1.0, 0.5), TowerRates(4.0, 0.5)])
            TowerRates(image=2.0, text=0.5)
        """
        rates = list(rates)
        image, text = (
            math.exp(math.fsum(map(math.log, side)) / len(rates)) for side in zip(*map(astuple, rates), strict=True)
        )
        return cls(image, text)


@dataclass(frozen=True)
class DistilledPhase:
    """One phase's distilled pairs.

    Attributes:
        images: (pairs, 3, height, width) in the image tower's normalised input space; pixels in [0, 1] in a set that
            was made for several towers.
        text_embeddings: (pairs, width) in the text tower's output space.
        similarity_factors: what is stored of the similarity: `matrix` (pairs, pairs), or `weights` (pairs,), `left` and
            `right` (pairs, rank) with `scale`; see `similarity`. Empty for the identity.
        inner_lr_image: learned student rate of the image side; of several towers, the geometric mean of theirs, which
            is for towers that the set was not made with.
        inner_lr_text: learned student rate of the text side, likewise.
        captions: the real captions that the pairs started from; empty strings where they started from noise.
        sources: the real images that the pairs started from, likewise.
        tower_rates: the rates of each of several towers, in the order of the set's; none with one tower.
        photos: the files of the images, where those are photos that were kept as they are; `images` is what the tower
            takes of them. Empty for others.
        mixtures: the captions that the texts are made of, where they are; `text_embeddings` is what the text tower
            makes of them.
    """

    images: Tensor
    text_embeddings: Tensor
    similarity_factors: Mapping[str, Tensor]
    inner_lr_image: float
    inner_lr_text: float
    captions: tuple[str, ...]
    sources: tuple[str, ...]
    tower_rates: tuple[TowerRates, ...] = ()
    photos: tuple[bytes, ...] = ()
    mixtures: Mixtures | None = None

    @property
    def rates(self) -> tuple[TowerRates, ...]:
        """The learned rates: of each tower, or of the only one."""
        return self.tower_rates or (TowerRates(self.inner_lr_image, self.inner_lr_text),)

    @property
    def num_pairs(self) -> int:
        """Pairs in this phase."""
        return len(self.images)

    @property
    def similarity(self) -> Tensor:
        """The similarity matrix (pairs, pairs), rows images, columns texts; one's own to change."""
        return compose_similarity(self.similarity_factors, self.num_pairs).clone()

    @property
    def storage_bytes(self) -> int:
        """Bytes of everything learned, as stored in float32."""
        scalars = self.images.numel() + self.text_embeddings.numel() + 2 * len(self.rates)
        scalars += sum(factor.numel() for factor in self.similarity_factors.values())
        return 4 * scalars


def compose_similarity(factors: Mapping[str, Tensor], pairs: int, device: torch.device | None = None) -> Tensor:
    """Return the similarity matrix (pairs, pairs) of its factors.

    `matrix` is the matrix; `weights`, `left`, `right` and `scale` give diag(weights) + scale left right^T, where the
    constant scale is a/r of LoRS (Appendix A); no factors at all are the identity, made on `device`.
    """
    if not factors:
        return torch.eye(pairs, device=device, dtype=torch.float32)
    if "matrix" in factors:
        return factors["matrix"]
    return torch.diag(factors["weights"]) + factors["scale"] * factors["left"] @ factors["right"].T


def to_tensors(phases: tuple[DistilledPhase, ...]) -> dict[str, Tensor]:
    """Return all tensors by name, such as `phase1/images` and `phase1/similarity/matrix`.

    Photos that are kept are files beside the tensors, where `phase1/photos` has their digests (pairs, 32).
    """
    tensors: dict[str, Tensor] = {}
    for number, phase in enumerate(phases, start=1):
        if phase.photos:
            tensors[f"phase{number}/photos"] = digests_of(phase.photos)
        else:
            tensors[f"phase{number}/images"] = phase.images
        if phase.mixtures is not None:
            tensors[f"phase{number}/mixtures/weights"] = phase.mixtures.weights
        tensors[f"phase{number}/text_embeddings"] = phase.text_embeddings
        for name, factor in phase.similarity_factors.items():
            tensors[f"phase{number}/similarity/{name}"] = factor
    return tensors


def phase_from(
    tensors: Mapping[str, Tensor],
    number: int,
    entry: Mapping[str, Any],
    image_encoder: Mapping[str, Any],
    files: Iterable[bytes] = (),
    background: str = "white",
) -> DistilledPhase:
    """Return a phase from a set's tensors and its entry in the set's description.

    Args:
        tensors: as `to_tensors` names them.
        number: the phase's, from 1.
        entry: its numbers, captions and sources.
        image_encoder: specification of the image tower, as which photos are decoded.
        files: the photos that are kept, in any order.
        background: what shows through their transparent pixels.

    Raises:
        ArtifactError: the parts do not fit together, or no student could train on them.
        KeyError: something is missing; TypeError and ValueError: something is of another kind.
    """
    pairs, photos = entry["pairs"], ()
    if (digests := tensors.get(f"phase{number}/photos")) is not None:
        photos = by_digest(digests, files)
        images = decoded(photos, image_encoder, background)
    else:
        images = tensors[f"phase{number}/images"]
    weights = tensors.get(f"phase{number}/mixtures/weights")
    phase = DistilledPhase(
        images=images,
        text_embeddings=tensors[f"phase{number}/text_embeddings"],
        similarity_factors={name: tensors[f"phase{number}/similarity/{name}"] for name in entry["similarity_factors"]},
        inner_lr_image=float(entry["inner_lr_image"]),
        inner_lr_text=float(entry["inner_lr_text"]),
        captions=tuple(_string(pair["caption"]) for pair in pairs),
        sources=tuple(_string(pair["source"]) for pair in pairs),
        tower_rates=tuple(TowerRates(*map(float, rates)) for rates in entry.get("tower_rates", ())),
        photos=photos,
        mixtures=None if weights is None else Mixtures.of([pair["mixture"] for pair in pairs], weights),
    )
    found = {len(phase.images), len(phase.text_embeddings), len(pairs), int(entry["num_pairs"])}
    found |= set() if phase.mixtures is None else {len(phase.mixtures.captions)}
    if len(found) != 1 or not _composes(phase):
        raise ArtifactError(f"phase {number} of the distilled set: images, texts and similarities differ in number")
    if (problem := _problem(phase)) is not None:
        raise ArtifactError(f"phase {number} of the distilled set: {problem}; distil again")
    return phase


def _problem(phase: DistilledPhase) -> str | None:
    """Return what keeps a student from training on a phase, or None."""
    images, texts = phase.images, phase.text_embeddings
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        return f"its images are {images.dtype} {tuple(images.shape)}; they must be floats (pairs, 3, height, width)"
    if texts.ndim != 2 or not texts.is_floating_point():
        return f"its text embeddings are {texts.dtype} {tuple(texts.shape)}; they must be floats (pairs, width)"
    tensors = {"images": images, "text embeddings": texts, **phase.similarity_factors}
    for name, value in tensors.items():
        if not bool(value.isfinite().all()):
            return f"its {name} hold values that are not finite"
    for rates in (TowerRates(phase.inner_lr_image, phase.inner_lr_text), *phase.tower_rates):
        if not (0 < rates.image < float("inf") and 0 < rates.text < float("inf")):
            return f"its rates are {rates.image} and {rates.text}; they must be above 0, and finite"
    return None


def _composes(phase: DistilledPhase) -> bool:
    """Return whether the factors give one similarity for each pair of pairs."""
    try:
        return phase.similarity.shape == (phase.num_pairs, phase.num_pairs)
    except RuntimeError:
        return False  # factors whose shapes do not go together


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r}, which must be a string")
    return value
