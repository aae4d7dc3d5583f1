"""Tiny models, splits, trajectories and distilled phases that every layer's tests share."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import settings
from torch import Tensor, nn

from pairstill.config import HeadsConfig, InfoNCE
from pairstill.distilled import DistilledPhase
from pairstill.encoders.cache import CachedRows
from pairstill.encoders.image import ImageEncoder, ImageSpec
from pairstill.encoders.split import EncodedSplit
from pairstill.model.dual_encoder import ModelFactory, Parameters

settings.register_profile("tests", deadline=None)  # a busy machine makes no test fail
settings.load_profile("tests")
CPU = torch.device("cpu")
SIZE, FEATURES, TEXT_WIDTH = 6, 5, 7


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and sums in one order make bits comparable."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class SmoothTower(nn.Module):
    """One strided convolution, GELU and the mean over places; smooth, so that finite differences converge."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, FEATURES, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        return F.gelu(self.conv(images)).mean((2, 3))


def _spec() -> ImageSpec:
    return ImageSpec("smooth", SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), FEATURES, "digest-of-smooth")


@pytest.fixture
def make_factory() -> Callable[..., ModelFactory]:
    """Build a model factory around the same tiny tower."""

    def make(
        *,
        trainable: bool = True,
        text_width: int = TEXT_WIDTH,
        precision: Any = "float32",
        info_nce: InfoNCE = "mean",
        **heads: Any,
    ) -> ModelFactory:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            tower = SmoothTower().eval()
        if not trainable:
            tower.requires_grad_(False)
            heads = {"image": True, "width": 4, **heads}
        encoder = ImageEncoder(tower, _spec())
        return ModelFactory(
            encoder=encoder,
            trainable=trainable,
            text_width=text_width,
            heads=HeadsConfig(**heads),
            device=CPU,
            precision=precision,
            info_nce=info_nce,
        )

    return make


@pytest.fixture
def make_split() -> Callable[..., EncodedSplit]:
    """Build an encoded split of random rows: pixels, or features of a frozen tower."""

    def make(images: int = 8, captions: int = 2, *, pixels: bool = True, seed: int = 0) -> EncodedSplit:
        generator = torch.Generator().manual_seed(seed)
        rows = (
            torch.randint(256, (images, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
            if pixels
            else torch.randn(images, FEATURES, generator=generator)
        )
        texts = torch.randn(images * captions, TEXT_WIDTH, generator=generator)
        owner = torch.arange(images).repeat_interleave(captions)
        return EncodedSplit(CachedRows([rows]), CachedRows([texts]), owner, _spec(), CPU)

    return make


@pytest.fixture
def walk() -> Callable[..., list[Parameters]]:
    """Return parameters after each of some random steps, as a teacher would leave them."""

    def make(initial: Parameters, epochs: int, size: float = 0.05, seed: int = 0) -> list[Parameters]:
        generator = torch.Generator().manual_seed(seed)
        places, now = [], initial
        for _ in range(epochs):
            now = {
                name: value + size * torch.randn(value.shape, generator=generator, dtype=value.dtype)
                for name, value in now.items()
            }
            places.append(now)
        return places

    return make


@pytest.fixture
def make_phase() -> Callable[..., DistilledPhase]:
    """Build a phase of small random pairs whose similarity is of a kind: `full`, `low_rank` or `identity`."""

    def similarity(kind: str, pairs: int, generator: torch.Generator) -> dict[str, Tensor]:
        match kind:
            case "full":
                return {"matrix": torch.randn(pairs, pairs, generator=generator)}
            case "low_rank":
                sides = {side: torch.randn(pairs, 2, generator=generator) for side in ("left", "right")}
                return {"weights": torch.randn(pairs, generator=generator), **sides, "scale": torch.tensor(0.1)}
        return {}

    def make(kind: str, pairs: int, seed: int = 0) -> DistilledPhase:
        generator = torch.Generator().manual_seed(seed)
        return DistilledPhase(
            images=torch.randn(pairs, 3, 4, 5, generator=generator),
            text_embeddings=torch.randn(pairs, 6, generator=generator),
            similarity_factors=similarity(kind, pairs, generator),
            inner_lr_image=0.1 + seed + 1e-12,  # rates that no float32 holds
            inner_lr_text=1 / 3 + seed,
            captions=tuple(f"caption {seed} {i} mit Straße" for i in range(pairs)),
            sources=tuple(f"{seed}/{i}.png" for i in range(pairs)),
        )

    return make
