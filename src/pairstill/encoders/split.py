"""A split as the model sees it: image inputs, text embeddings, and which caption belongs to which image."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pairstill.data.loader import normalise, read_images
from pairstill.data.manifest import Manifest
from pairstill.encoders.cache import CachedRows, cached_rows
from pairstill.encoders.image import ImageEncoder, ImageSpec, to_channels_last
from pairstill.encoders.text import TextEncoder
from pairstill.schema import Split
from pairstill.storage import digest

if TYPE_CHECKING:
    from pairstill.data.augment import TeacherAugmentation

TOWER_BATCH = 64
EVALUATION_BATCH = 256


@dataclass(frozen=True)
class EncodedSplit:
    """One split, encoded as far as frozen towers allow.

    Attributes:
        images: rows (images, features) of a frozen tower, or uint8 pixels (images, 3, size, size) for a trainable one.
        text_embeddings: rows (captions, width).
        caption_owner: the image that each caption belongs to, (captions,).
        spec: the image tower's specification, with the normalisation of pixels.
        device: where batches are put.
    """

    images: CachedRows
    text_embeddings: CachedRows
    caption_owner: Tensor
    spec: ImageSpec
    device: torch.device

    @property
    def num_images(self) -> int:
        """Images in the split."""
        return len(self.images)

    @property
    def num_captions(self) -> int:
        """Captions in the split."""
        return len(self.text_embeddings)

    def image_inputs(self, index: Tensor, augment: "TeacherAugmentation | None" = None, seed: int = 0) -> Tensor:
        """Return what the model takes for these images: features, or normalised pixels (images, 3, size, size)."""
        rows = self.images.take(index)
        if rows.dtype != torch.uint8:
            return rows.to(self.device)
        rows = rows.to(self.device)
        if augment is not None:
            rows = augment(rows.float() / 255, torch.Generator().manual_seed(seed))
        return to_channels_last(normalise(rows, self.spec.mean, self.spec.std))

    def texts(self, index: Tensor) -> Tensor:
        """Return the embeddings (captions, width) of these captions."""
        return self.text_embeddings.take(index).to(self.device)

    def image_batches(self) -> Iterator[Tensor]:
        """Yield the inputs of all images in order."""
        for start in range(0, self.num_images, EVALUATION_BATCH):
            yield self.image_inputs(torch.arange(start, min(start + EVALUATION_BATCH, self.num_images)))

    def text_batches(self) -> Iterator[Tensor]:
        """Yield the embeddings of all captions in order."""
        step = 8 * EVALUATION_BATCH
        for start in range(0, self.num_captions, step):
            yield self.text_embeddings.slice(start, start + step).to(self.device)

    def epoch_order(self, captions: str, generator: torch.Generator) -> Tensor:
        """Return caption numbers in a random order: every caption, or one random caption of every image."""
        if captions == "all":
            return torch.randperm(self.num_captions, generator=generator)
        ranks = torch.rand(self.num_captions, generator=generator)
        chosen = torch.full((self.num_images,), -1.0)
        chosen.scatter_reduce_(0, self.caption_owner, ranks, "amax")
        picked = (ranks == chosen[self.caption_owner]).nonzero().flatten()
        return picked[torch.randperm(len(picked), generator=generator)]


@dataclass(frozen=True)
class Encoding:
    """How images and captions become rows, read from the cache where the same rows were computed before.

    Attributes:
        image: the image tower and its specification.
        text: the text tower.
        tower: the frozen tower on `device`, whose features are cached; None caches pixels, for a trainable tower.
        cache_dir: the cache shared by runs.
        device: where the tower computes and batches are put.
        on_rows: called with `pixels`, `features` or `texts`, the rows done and all rows, while something is computed.
    """

    image: ImageEncoder
    text: TextEncoder
    tower: nn.Module | None
    cache_dir: Path
    device: torch.device
    on_rows: Callable[[str, int, int], None] = lambda kind, done, total: None

    def images(self, paths: Sequence[Path], digests: Iterable[str], about: str) -> CachedRows:
        """Return features (images, features), or uint8 pixels (images, 3, size, size) for a trainable tower.

        Args:
            paths: the image files.
            digests: SHA-256 of their content.
            about: what they are, written beside the rows for people.
        """
        spec, content = self.image.spec, digest(*digests)
        kind, compute = ("pixels", self._pixels) if self.tower is None else ("features", self._features)
        parts = (str(spec.size), content) if self.tower is None else (repr(spec), content)
        return cached_rows(
            self.cache_dir / kind / digest(*parts),
            len(paths),
            lambda start, stop: compute(paths[start:stop]),
            about={"kind": kind, "split": about, "images": len(paths), "encoder": spec.to_json()},
            on_rows=partial(self.on_rows, kind),
        )

    def texts(self, captions: Sequence[str], about: str) -> CachedRows:
        """Return embeddings (captions, width)."""
        spec = self.text.spec
        return cached_rows(
            self.cache_dir / "texts" / digest(repr(spec), *captions),
            len(captions),
            lambda start, stop: self.text.encode(captions[start:stop]),
            about={"kind": "texts", "split": about, "captions": len(captions), "encoder": spec.to_json()},
            on_rows=partial(self.on_rows, "texts"),
        )

    def _pixels(self, paths: Sequence[Path]) -> Tensor:
        return read_images(paths, self.image.spec.size)

    def _features(self, paths: Sequence[Path]) -> Tensor:
        assert self.tower is not None
        spec = self.image.spec
        batches = (self._pixels(paths[at : at + TOWER_BATCH]) for at in range(0, len(paths), TOWER_BATCH))
        return torch.cat(
            [_tower_features(self.tower, normalise(batch, spec.mean, spec.std), self.device) for batch in batches]
        )


def encode_split(manifest: Manifest, split: Split, encoding: Encoding) -> EncodedSplit:
    """Encode a split of the checked pairs."""
    records = zip(manifest.records, manifest.image_digests, strict=True)
    return EncodedSplit(
        images=encoding.images(
            manifest.image_paths(split), (content for record, content in records if record.split == split), split
        ),
        text_embeddings=encoding.texts(manifest.captions(split), split),
        caption_owner=torch.tensor(manifest.caption_owner(split), dtype=torch.int64),
        spec=encoding.image.spec,
        device=encoding.device,
    )


@torch.no_grad()
def _tower_features(tower: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    return tower(to_channels_last(images.to(device))).float().cpu()
