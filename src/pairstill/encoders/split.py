"""A split as the model sees it: image inputs, text embeddings, and which caption belongs to which image."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pairstill.core.errors import DataError
from pairstill.core.rng import make_generator
from pairstill.core.schema import Split
from pairstill.core.world import World
from pairstill.data.loader import normalise, read_images
from pairstill.data.manifest import Manifest
from pairstill.encoders.cache import ALONE, SHARD_ROWS, CachedRows, cached_rows
from pairstill.encoders.image import ImageEncoder, ImageSpec, to_channels_last
from pairstill.encoders.row_files import RowFile
from pairstill.encoders.text import PrecomputedTexts, TextEncoder
from pairstill.events import Emit, silent
from pairstill.storage import digest, digest_all
from pairstill.storage.cache import cache_folder

if TYPE_CHECKING:
    from pairstill.data.augment import TeacherAugmentation

VIEWS = "augmented view 1"
"""What the digest of a view's rows begins with; raise the number when the same view becomes another one."""
CHECKED_IMAGES = 4
"""Images whose given features are compared with what the tower makes of them."""
TOWER_BATCH = 64
SHARD_BYTES = 1 << 28
"""Of features at a cut, at most, in one file of the cache."""
FEATURE_TOLERANCE = 0.05
"""Of the features' norm: above what float16, TF32 and other decoders of images change, below any other tower's."""


@dataclass(frozen=True)
class EncodedSplit:
    """One split, encoded as far as frozen towers allow.

    Attributes:
        images: rows (images, features) of a frozen tower, or (images, ...) of its frozen stages, or uint8 pixels
            (images, 3, size, size) for a tower all of which trains.
        text_embeddings: rows (captions, width).
        caption_owner: the image that each caption belongs to, (captions,).
        spec: the image tower's specification, with the normalisation of pixels.
        device: where batches are put.
        views: features of augmented views of the images, each like `images`; none unless they were asked for.
        batch_size: images in a batch of `image_batches`; those of `text_batches` are eight times as large.
    """

    images: CachedRows
    text_embeddings: CachedRows
    caption_owner: Tensor
    spec: ImageSpec
    device: torch.device
    views: tuple[CachedRows, ...] = ()
    batch_size: int = 256

    @property
    def num_images(self) -> int:
        """Images in the split."""
        return len(self.images)

    @property
    def num_captions(self) -> int:
        """Captions in the split."""
        return len(self.text_embeddings)

    def image_inputs(self, index: Tensor, augment: "TeacherAugmentation | None" = None, seed: int = 0) -> Tensor:
        """Return what the model takes for these images: features, or normalised pixels (images, 3, size, size).

        Raises:
            ValueError: features are to be augmented, which pixels alone can be.
        """
        rows = self.images.take(index)
        if rows.dtype != torch.uint8:
            if augment is not None:
                raise ValueError("the rows are features of a frozen tower; augment pixels, or take a view's features")
            return _for_convolutions(rows.to(self.device))
        rows = rows.to(self.device)
        if augment is not None:
            rows = augment(rows.float() / 255, torch.Generator().manual_seed(seed))
        return to_channels_last(normalise(rows, self.spec.mean, self.spec.std))

    def view_inputs(self, index: Tensor, drawn: Tensor) -> Tensor:
        """Return the features (index, features) of one view of each of these images.

        Args:
            index: the images.
            drawn: the view of every image of the split, (images,).
        """
        view_of = drawn[index]
        rows = torch.empty(len(index), *self.images.row_shape)
        for view in view_of.unique().tolist():
            rows[view_of == view] = self.views[view].take(index[view_of == view])
        return _for_convolutions(rows.to(self.device))

    def draw_views(self, generator: torch.Generator) -> Tensor:
        """Return a random view for every image, (images,)."""
        return torch.randint(len(self.views), (self.num_images,), generator=generator)

    def texts(self, index: Tensor) -> Tensor:
        """Return the embeddings (captions, width) of these captions."""
        return self.text_embeddings.take(index).to(self.device)

    def image_batches(self) -> Iterator[Tensor]:
        """Yield the inputs of all images in order."""
        for start in range(0, self.num_images, self.batch_size):
            yield self.image_inputs(torch.arange(start, min(start + self.batch_size, self.num_images)))

    def text_batches(self) -> Iterator[Tensor]:
        """Yield the embeddings of all captions in order."""
        step = 8 * self.batch_size
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
        tower: the frozen tower, or its stem, on `device`, whose features are cached; None caches pixels, for a tower
            all of which trains.
        cache_dir: the cache shared by runs.
        device: where the tower computes and batches are put.
        what: what is encoded, such as `the train split`.
        emit: told of rows while they are computed.
        background: what shows through transparent pixels of images.
        tower_batch: images that go through the frozen tower at a time.
        world: the ranks that share out what is to be encoded; all of them encode the same.
    """

    image: ImageEncoder
    text: TextEncoder
    tower: nn.Module | None
    cache_dir: Path
    device: torch.device
    what: str = "images and captions"
    emit: Emit = silent
    background: str = "white"
    tower_batch: int = TOWER_BATCH
    world: World = ALONE

    def images(self, paths: Sequence[Path], digests: Iterable[str], about: str) -> CachedRows:
        """Return features (images, ...), or uint8 pixels (images, 3, size, size) for a tower all of which trains.

        Args:
            paths: the image files.
            digests: SHA-256 of their content.
            about: what they are, written beside the rows for people.
        """
        spec, content = self.image.spec, digest_all(digests)
        kind, compute = ("pixels", self._pixels) if self.tower is None else ("features", self._features)
        parts = (str(spec.size), content) if self.tower is None else (spec.key, content)
        return cached_rows(
            cache_folder(self.cache_dir, kind) / digest(*parts),
            len(paths),
            lambda start, stop: compute(paths[start:stop]),
            about={"kind": kind, "split": about, "images": len(paths), "encoder": spec.to_json()},
            shard_rows=self._shard_rows(),
            what=f"Encoding {self.what}: {kind}",
            emit=self.emit,
            world=self.world,
        )

    def given_images(self, given: RowFile, paths: Sequence[Path], digests: Sequence[str]) -> CachedRows:
        """Return features (images, features) from a file, after a look whether they are this tower's.

        Args:
            given: the file.
            paths: the image files.
            digests: SHA-256 of their content, as hexadecimal digits.

        Raises:
            DataError: the file lacks images, or its features are not those that the tower gives.
        """
        width = self.image.spec.width
        if given.width != width:
            raise DataError(
                f"image.features: {given.path} holds features of width {given.width}; the tower's is {width}"
            )
        try:
            rows = given.take([bytes.fromhex(d) for d in digests], lambda number: str(paths[number]), "images")
        except DataError as error:
            raise DataError(
                f"image.features: {error}\nWrite a file that has them, with `pairstill prepare --features_out FILE` "
                "and without image.features; or leave image.features out"
            ) from error
        own = self._features(paths[:CHECKED_IMAGES])
        off = float(((own - rows[:CHECKED_IMAGES]).norm(dim=1) / own.norm(dim=1).clamp_min(1e-12)).max())
        if not off <= FEATURE_TOLERANCE:
            raise DataError(
                f"image.features: {given.path} holds other features than the tower gives, which differ by {off:.2g} of "
                "their norm for one of the first images; write it with these settings image.*, or leave it out"
            )
        return CachedRows([rows])

    def views(self, paths: Sequence[Path], digests: Iterable[str], count: int) -> tuple[CachedRows, ...]:
        """Return the features of augmented views of the images, each (images, features); the tower is frozen.

        A view depends on its number and the images alone: not on how many views there are, nor on any seed of a run.

        Args:
            paths: the image files.
            digests: SHA-256 of their content.
            count: how many views.
        """
        spec, content = self.image.spec, digest_all(digests)
        return tuple(
            cached_rows(
                cache_folder(self.cache_dir, "features") / digest(spec.key, content, VIEWS, str(view)),
                len(paths),
                partial(self._view_features, paths, view),
                about={"kind": "features", "augmented view": view, "images": len(paths), "encoder": spec.to_json()},
                shard_rows=self._shard_rows(),
                what=f"Encoding {self.what}: view {view + 1} of {count}",
                emit=self.emit,
                world=self.world,
            )
            for view in range(count)
        )

    def texts(self, captions: Sequence[str], about: str) -> CachedRows:
        """Return embeddings (captions, width)."""
        if isinstance(self.text, PrecomputedTexts):
            return CachedRows([self.text.encode(captions)])  # all at once, so that all that lack are listed
        spec = self.text.spec
        return cached_rows(
            cache_folder(self.cache_dir, "texts") / digest_all(chain([repr(spec)], captions)),
            len(captions),
            lambda start, stop: self.text.encode(captions[start:stop]),
            about={"kind": "texts", "split": about, "captions": len(captions), "encoder": spec.to_json()},
            what=f"Encoding {self.what}: texts",
            emit=self.emit,
            world=self.world,
        )

    def _shard_rows(self) -> int | None:
        """Return how many images' features at a cut are held at once, since they are large; else None."""
        if self.tower is None or self.image.spec.cut is None:
            return None
        return max(1, min(SHARD_ROWS, SHARD_BYTES // (4 * math.prod(self.image.spec.features))))

    def _pixels(self, paths: Sequence[Path]) -> Tensor:
        spec = self.image.spec
        return read_images(paths, spec.size, spec.resizing, background=self.background)

    def _features(self, paths: Sequence[Path]) -> Tensor:
        step = self.tower_batch
        return self._of_tower(self._pixels(paths[at : at + step]) for at in range(0, len(paths), step))

    def _view_features(self, paths: Sequence[Path], view: int, start: int, stop: int) -> Tensor:
        from pairstill.data.augment import TeacherAugmentation  # a second to import, and most runs do without

        augment = TeacherAugmentation()

        def batch(first: int) -> Tensor:
            pixels = self._pixels(paths[first : min(first + self.tower_batch, stop)])
            return augment(pixels.float() / 255, make_generator("augmented view", view, first))

        return self._of_tower(map(batch, range(start, stop, self.tower_batch)))

    def _of_tower(self, batches: Iterable[Tensor]) -> Tensor:
        """Return the features of batches of pixels."""
        assert self.tower is not None
        tower, spec = self.tower, self.image.spec
        return torch.cat(
            [_tower_features(tower, normalise(batch, spec.mean, spec.std), self.device) for batch in batches]
        )


def encode_split(
    manifest: Manifest, split: Split, encoding: Encoding, given: RowFile | None = None, views: int = 0
) -> EncodedSplit:
    """Encode a split of the checked pairs.

    Args:
        manifest: the pairs.
        split: which of them.
        encoding: how they are encoded.
        given: holds the features of its images, if they are not to be computed.
        views: how many augmented views of its images to encode, too.
    """
    paths, digests = manifest.image_paths(split), manifest.digests(split)
    return EncodedSplit(
        images=encoding.images(paths, digests, split)
        if given is None
        else encoding.given_images(given, paths, digests),
        text_embeddings=encoding.texts(manifest.captions(split), split),
        caption_owner=torch.from_numpy(manifest.caption_owner(split)),
        spec=encoding.image.spec,
        device=encoding.device,
        views=encoding.views(paths, digests, views),
    )


def _for_convolutions(features: Tensor) -> Tensor:
    """Return features as they are, or those with places in the layout that convolutions run fastest on."""
    return to_channels_last(features) if features.ndim == 4 else features


@torch.no_grad()
def _tower_features(tower: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    return tower(to_channels_last(images.to(device))).float().cpu()
