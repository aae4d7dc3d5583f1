"""An epoch of a teacher: tower trained, trained with augmentation, or frozen with its features cached."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from pairstill.config import HeadsConfig, ImageConfig, TeacherConfig
from pairstill.core.rng import make_generator
from pairstill.encoders.cache import CachedRows
from pairstill.encoders.image import build_image_encoder
from pairstill.encoders.split import EncodedSplit
from pairstill.model.dual_encoder import ModelFactory
from pairstill.teachers.training import RealTraining, train_on_real_pairs
from pairstill.tools.bench.measure import Benchmark, Extra
from pairstill.tools.bench.settings import TeacherBench


def build(settings: TeacherBench, device: torch.device) -> Benchmark:
    """Return one epoch of each kind."""
    encoder = build_image_encoder(ImageConfig(settings.model, size=settings.size))
    generator = make_generator(settings.seed, "bench teacher")
    shape = (settings.images, 3, settings.size, settings.size)
    pixels = CachedRows([torch.randint(256, shape, generator=generator, dtype=torch.uint8)])
    features = CachedRows([torch.randn(settings.images, encoder.spec.width, generator=generator)])
    texts = CachedRows([torch.randn(settings.images, settings.text_width, generator=generator)])
    training = RealTraining.of_teacher(TeacherConfig(epochs=1, batch_size=settings.batch, lr_image=1e-3))

    def epoch(*, trainable: bool, augment: Any = "none") -> Callable[[], float]:
        heads = HeadsConfig("linear") if trainable else HeadsConfig("linear", image=True, width=settings.width)
        factory = ModelFactory(encoder, trainable, settings.text_width, heads, device)
        rows = pixels if trainable else features
        split = EncodedSplit(rows, texts, torch.arange(settings.images), encoder.spec, device)
        model, initial = factory.build(), factory.initial_parameters(settings.seed)

        def train() -> float:
            how = replace(training, augment=augment)
            return [loss for _, loss in train_on_real_pairs(factory, model, initial, split, how, settings.seed)][-1]

        return train

    variants = {
        "trained tower": epoch(trainable=True),
        "trained tower, augmented": epoch(trainable=True, augment="paper"),
        "frozen tower, cached features": epoch(trainable=False),
    }

    def compare(outputs: Mapping[str, float]) -> Extra:
        return {name: {"pairs": settings.images} for name in outputs}

    return Benchmark(variants, compare)
