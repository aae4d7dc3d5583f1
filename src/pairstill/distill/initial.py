"""Where distilled pairs start: real pairs drawn at random, or noise of the same moments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from pairstill.config import MixtureConfig, PhaseConfig
from pairstill.core.errors import DataError
from pairstill.core.formatting import counted
from pairstill.data.loader import normalise, read_images
from pairstill.data.manifest import Manifest
from pairstill.distill.mixture import Mixture, begun
from pairstill.encoders.image import ImageSpec
from pairstill.encoders.split import EncodedSplit


@dataclass(frozen=True)
class InitialPairs:
    """The pairs that a phase starts from.

    Attributes:
        images: (pairs, 3, size, size), normalised.
        text_embeddings: (pairs, width).
        captions: the real captions; empty strings for noise.
        sources: the real images' paths; empty strings for noise.
        photos: the real images' files, where they are kept; else empty.
        mixture: what the texts are mixed of, where they are; else None.
    """

    images: Tensor
    text_embeddings: Tensor
    captions: tuple[str, ...]
    sources: tuple[str, ...]
    photos: tuple[bytes, ...] = ()
    mixture: Mixture | None = None


def draw_pairs(split: EncodedSplit, sizes: list[int], generator: torch.Generator) -> list[Tensor]:
    """Draw disjoint random images for each phase, each with one of its captions; return caption numbers.

    Raises:
        DataError: the split has fewer images than all phases together need.
    """
    if sum(sizes) > split.num_images:
        raise DataError(
            f"{sum(sizes)} distilled pairs are asked for but the training split has {split.num_images} images; "
            "ask for fewer pairs or give more data"
        )
    order = split.epoch_order("sample", generator)
    return list(order[: sum(sizes)].split(sizes))


def real_pairs(manifest: Manifest, split: EncodedSplit, captions: Tensor) -> InitialPairs:
    """Return the real pairs of these caption numbers of the training split."""
    records, spec = manifest.split("train").at(split.caption_owner[captions].tolist()), split.spec
    paths = [manifest.image_root / record.image for record in records]
    pixels = read_images(paths, spec.size, spec.resizing, background=manifest.background)
    return InitialPairs(
        normalise(pixels, split.spec.mean, split.spec.std),
        split.text_embeddings.take(captions).clone(),
        tuple(manifest.captions("train").at(captions.tolist())),
        tuple(record.image for record in records),
    )


def with_photos(pairs: InitialPairs, manifest: Manifest) -> InitialPairs:
    """Return real pairs with the files of their images, which are kept."""
    root = manifest.image_root
    return replace(pairs, photos=tuple((root / source).read_bytes() for source in pairs.sources))


def with_mixture(
    pairs: InitialPairs, manifest: Manifest, split: EncodedSplit, candidates: Tensor, config: MixtureConfig
) -> InitialPairs:
    """Return real pairs whose texts are mixtures, of candidates with these numbers; they begin as the first ones."""
    begin = begun(candidates, manifest.captions("train"), split.text_batches(), config)
    return replace(pairs, mixture=begin)


def draw_glossary(captions: Sequence[str], count: int, generator: torch.Generator) -> tuple[str, ...]:
    """Draw twice as many captions at random, none of them twice, and return the shorter half.

    Short ones take fewer bytes, and a map learns from them as much.

    Raises:
        DataError: there are fewer different ones.
    """
    different = list(dict.fromkeys(captions))
    if count > len(different):
        raise DataError(
            f"distill.glossary asks for {counted(count, 'caption')}, but the training split has {len(different)} "
            "different ones; ask for fewer"
        )
    order = torch.randperm(len(different), generator=generator)[: 2 * count].tolist()
    return tuple(sorted((different[i] for i in order), key=len)[:count])


def noise_like(real: InitialPairs, generator: torch.Generator) -> InitialPairs:
    """Return Gaussian noise with the real images' mean and deviation per channel, and the texts' per dimension."""

    def like(values: Tensor, dims: tuple[int, ...]) -> Tensor:
        noise = torch.randn(values.shape, generator=generator)
        return noise * values.std(dims, keepdim=True) + values.mean(dims, keepdim=True)

    empty = ("",) * len(real.captions)
    return InitialPairs(like(real.images, (0, 2, 3)), like(real.text_embeddings, (0,)), empty, empty)


def initial_pairs(
    manifest: Manifest,
    split: EncodedSplit,
    phases: tuple[PhaseConfig, ...],
    kind: Literal["real", "noise"],
    generator: torch.Generator,
) -> list[InitialPairs]:
    """Return the initial pairs of every phase."""
    drawn = draw_pairs(split, [phase.num_pairs for phase in phases], generator)
    real = [real_pairs(manifest, split, captions) for captions in drawn]
    return real if kind == "real" else [noise_like(pairs, generator) for pairs in real]


def pixel_range(spec: ImageSpec) -> tuple[Tensor, Tensor]:
    """Return the lowest and the highest normalised pixel value of each channel, (3, 1, 1)."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    return -mean / std, (1 - mean) / std
