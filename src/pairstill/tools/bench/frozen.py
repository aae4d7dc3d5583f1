"""One outer step behind a frozen tower: the tower once, against the tower in every inner step."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from pairstill.config import HeadsConfig, ImageConfig
from pairstill.core.rng import make_generator
from pairstill.distill.bilevel.inner_loop import InnerData, InnerLoop, InnerRates, InnerStep, LinearSides, draw_batches
from pairstill.distill.bilevel.matching import matching_losses
from pairstill.distill.bilevel.solvers import ExactSpan, ExactStore, Hypergradient, Solver, mean_hypergradient
from pairstill.distill.pairs import TOWER_CHUNK
from pairstill.encoders.frozen import frozen_tower
from pairstill.encoders.image import build_image_encoder, to_channels_last
from pairstill.model.dual_encoder import DropoutMasks, ModelFactory, Parameters
from pairstill.model.functional import loss_of_embeddings, pair_loss
from pairstill.tools.bench.hypergradient import agreement
from pairstill.tools.bench.measure import Benchmark, Extra
from pairstill.tools.bench.settings import FrozenBench

RATE, STEP = 0.1, 0.01


def build(settings: FrozenBench, device: torch.device) -> Benchmark:
    """Return both ways to the gradient of the pixels, which must agree."""
    encoder = build_image_encoder(ImageConfig(settings.model, trainable=False, size=settings.size))
    heads = HeadsConfig("linear", image=True, width=settings.width)
    factory = ModelFactory(encoder, False, settings.text_width, heads, device)
    generator = make_generator(settings.seed, "bench frozen")
    size = settings.size
    images = torch.randn(settings.pairs, 3, size, size, generator=generator).to(device).requires_grad_()
    texts = torch.randn(settings.pairs, settings.text_width, generator=generator).to(device)
    loops = [
        partial(segment, factory, texts, [InnerStep(index.to(device), None) for index in batches], settings.seed)
        for batches in (
            draw_batches(settings.pairs, settings.batch, settings.inner_steps, generator)
            for _ in range(settings.stretches)
        )
    ]
    tower = frozen_tower(encoder, device)

    def mean(inputs: Tensor, seen_by: nn.Module, solver: Solver) -> Hypergradient:
        return mean_hypergradient([solver(loop(inputs, seen_by)) for loop in loops])

    def in_every_step() -> Hypergradient:
        return mean(to_channels_last(images.detach()), tower, ExactStore())

    def once(solver: Solver) -> Hypergradient:
        features = torch.cat([tower(to_channels_last(chunk)) for chunk in images.split(TOWER_CHUNK)])
        found = mean(features.detach(), nn.Identity(), solver)
        (pixels,) = torch.autograd.grad(features, images, found.images)
        return Hypergradient(
            found.losses, pixels, found.texts, found.similarity, found.inner_lr_image, found.inner_lr_text
        )

    variants: dict[str, Callable[[], Hypergradient]] = {
        "tower in every inner step": in_every_step,
        "tower once per outer step": partial(once, ExactStore()),
        "and heads in the span of the pairs": partial(once, ExactSpan()),
    }
    return Benchmark(variants, _compare)


def segment(
    factory: ModelFactory, texts: Tensor, steps: list[InnerStep], seed: int, inputs: Tensor, tower: nn.Module
) -> InnerLoop:
    """Return a segment of a random walk of the heads, on inputs that the tower still has to see.

    Args:
        factory: the model behind the frozen tower.
        texts: text embeddings (pairs, width), whose type and device everything has.
        steps: the inner steps.
        seed: of the heads and of the walk.
        inputs: what the tower takes (pairs, ...).
        tower: the frozen tower, or the identity for inputs that are features.
    """
    model, start = factory.build(), {n: v.to(texts) for n, v in factory.initial_parameters(seed).items()}
    generator = make_generator(seed, "bench frozen target")
    target = {n: v + STEP * torch.randn(v.shape, generator=generator).to(v) for n, v in start.items()}
    rate = torch.tensor(RATE, dtype=texts.dtype, device=texts.device)

    def loss(parameters: Parameters, x: Tensor, y: Tensor, s: Tensor, masks: DropoutMasks | None) -> Tensor:
        return pair_loss(model, parameters, (tower(x), y, s), "wbce", masks)

    def matching(end: Parameters) -> dict[str, Tensor]:
        return matching_losses(end, start, target, "per_tower")

    def of_embeddings(u: Tensor, v: Tensor, s: Tensor, masks: DropoutMasks | None) -> Tensor:
        return loss_of_embeddings(u, v, s, "wbce", model.info_nce)

    linear = LinearSides(of_embeddings, target, "per_tower")
    data = InnerData(inputs, texts, torch.eye(len(texts), dtype=texts.dtype, device=texts.device))
    return InnerLoop(
        loss=loss,
        start=start,
        data=data,
        rates=InnerRates(rate, rate.clone()),
        steps=steps,
        matching=matching,
        linear=linear,
    )


def _compare(outputs: Mapping[str, Hypergradient]) -> Extra:
    reference = next(iter(outputs.values()))
    return {name: agreement(found, reference) for name, found in outputs.items()}
