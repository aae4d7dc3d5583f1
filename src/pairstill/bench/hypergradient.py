"""The hypergradient of one stretch, in every mode."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pairstill.bench.measure import Extra, Subject
from pairstill.bench.settings import HypergradientBench
from pairstill.config import HeadsConfig, ImageConfig
from pairstill.distill.hypergradient import Derivative, Hypergradient, Mode, hypergradient
from pairstill.distill.inner_loop import InnerData, InnerLoop, InnerRates, InnerStep, draw_batches
from pairstill.distill.matching import matching_losses
from pairstill.encoders.image import build_image_encoder
from pairstill.model.dual_encoder import DropoutMasks, ModelFactory, Parameters
from pairstill.model.functional import pair_loss
from pairstill.rng import generator

BASELINE = "unrolled, plain contiguous memory"
RATE = 0.01
STEP = 1e-3  # of a parameter tensor's standard deviation: what the target lies away from the start


def build(settings: HypergradientBench, device: torch.device) -> Subject:
    """Return every mode on the same stretch; what they return is compared with `unrolled` in the same layout."""
    contiguous = _loop(settings, device, torch.contiguous_format)
    chosen = contiguous if settings.layout == "contiguous" else _loop(settings, device, torch.channels_last)
    variants = {BASELINE: _call(contiguous, "unrolled")}
    for mode in settings.modes:
        if mode == "exact_recompute":
            variants[f"{mode}, double backward"] = _call(chosen, mode)
            variants[f"{mode}, forward over reverse"] = _call(chosen, mode, "forward_over_reverse")
        else:
            variants[mode] = _call(chosen, mode)
    return Subject(variants, _compare)


def _call(loop: InnerLoop, mode: Mode, derivative: Derivative = "double_backward") -> Callable[[], Hypergradient]:
    return lambda: hypergradient(loop, mode, derivative)


def _loop(settings: HypergradientBench, device: torch.device, layout: torch.memory_format) -> InnerLoop:
    """Return a stretch of a random walk, with images and parameters in the given layout."""
    encoder = build_image_encoder(ImageConfig(settings.model, size=settings.size))
    factory = ModelFactory(encoder, True, settings.text_width, HeadsConfig(), device)
    model, draw = factory.build(), generator(settings.seed, "bench hypergradient")

    def placed(value: Tensor) -> Tensor:
        value = value.to(device)
        return value.contiguous(memory_format=layout) if value.ndim == 4 else value

    start = {name: placed(value) for name, value in factory.initial_parameters(settings.seed).items()}
    target = {name: value + STEP * _noise_like(value, draw) for name, value in start.items()}
    pairs, size = settings.pairs, settings.size
    images = placed(torch.randn(pairs, 3, size, size, generator=draw))
    texts = torch.randn(pairs, settings.text_width, generator=draw).to(device)
    similarity = (0.8 * torch.eye(pairs) + 0.1 * torch.rand(pairs, pairs, generator=draw)).to(device)
    batches = draw_batches(pairs, settings.batch, settings.inner_steps, draw)
    steps = [InnerStep(index.to(device), factory.draw_masks(len(index), draw)) for index in batches]
    rate = torch.tensor(RATE, device=device)

    def loss(parameters: Parameters, x: Tensor, y: Tensor, s: Tensor, masks: DropoutMasks | None) -> Tensor:
        return pair_loss(model, parameters, (x, y, s), "wbce", masks)

    def matching(end: Parameters) -> dict[str, Tensor]:
        return matching_losses(end, start, target, "per_tower")

    return InnerLoop(loss, start, InnerData(images, texts, similarity), InnerRates(rate, rate.clone()), steps, matching)


def _noise_like(value: Tensor, draw: torch.Generator) -> Tensor:
    noise = torch.randn(value.shape, generator=draw).to(value.device)
    # a tensor of equal entries, such as fresh gains and biases, moves too
    return noise * value.std(correction=0).clamp_min(0.1)


def _compare(outputs: Mapping[str, Hypergradient]) -> Extra:
    """Return the worst cosine and relative error of images, texts, similarities and both rates."""
    reference = outputs.get("unrolled", outputs[BASELINE])
    return {name: agreement(found, reference) for name, found in outputs.items()}


def agreement(found: Hypergradient, reference: Hypergradient) -> dict[str, float]:
    """Return `cosine`, the lowest of the three tensors, and `relative_error`, the largest of all five gradients."""
    names = ("images", "texts", "similarity", "inner_lr_image", "inner_lr_text")
    pairs = [(getattr(found, name).double(), getattr(reference, name).double()) for name in names]
    cosines = [float((a * b).sum() / (a.norm() * b.norm())) for a, b in pairs[:3]]
    errors = [float((a - b).norm() / b.norm()) for a, b in pairs]
    return {"cosine": min(cosines), "relative_error": max(errors)}
