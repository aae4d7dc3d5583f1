"""Recall in both directions: in tiles, against sorting row by row in NumPy."""

from collections.abc import Mapping

import numpy as np
import torch

from pairstill.core.rng import make_generator
from pairstill.evaluate.retrieval import Recalls, retrieval_recalls
from pairstill.tools.bench.measure import Benchmark, Extra
from pairstill.tools.bench.settings import RecallBench

NOISE = 4.0  # so that recalls are neither 0 nor 100


def build(settings: RecallBench, device: torch.device) -> Benchmark:
    """Return both computations on the same random embeddings."""
    generator = make_generator(settings.seed, "bench recall")
    owner = torch.arange(settings.images).repeat_interleave(settings.captions)
    images = torch.randn(settings.images, settings.width, generator=generator)
    texts = images[owner] + NOISE * torch.randn(len(owner), settings.width, generator=generator)
    on_device = images.to(device), texts.to(device), owner.to(device)
    arrays = images.numpy(), texts.numpy(), owner.numpy()
    return Benchmark(
        {
            "NumPy, sorted row by row": lambda: by_sorting(*arrays),
            "in tiles": lambda: retrieval_recalls(*on_device),
        },
        _compare,
    )


def by_sorting(images: np.ndarray, texts: np.ndarray, owner: np.ndarray) -> Recalls:
    """Return the recalls by sorting every row of the similarity matrix.

    Args:
        images: embeddings (images, width).
        texts: embeddings (captions, width).
        owner: the image of each caption, (captions,).
    """
    u = images / np.linalg.norm(images, axis=1, keepdims=True)
    v = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    scores = u @ v.T
    image_ranks = np.empty(len(v), dtype=np.int64)
    for caption, row in enumerate(scores.T):
        image_ranks[caption] = np.flatnonzero(np.argsort(-row) == owner[caption])[0]
    caption_ranks = np.empty(len(u), dtype=np.int64)
    for image, row in enumerate(scores):
        caption_ranks[image] = np.flatnonzero(owner[np.argsort(-row)] == image)[0]
    shares = [100 * float((ranks < k).mean()) for ranks in (image_ranks, caption_ranks) for k in (1, 5, 10)]
    return Recalls(*shares)


def _compare(outputs: Mapping[str, Recalls]) -> Extra:
    return {name: {"mean_recall": recalls.mean} for name, recalls in outputs.items()}
