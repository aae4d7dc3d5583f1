"""The hypergradient of one segment, in every mode."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from pairstill.config import HeadsConfig, ImageConfig
from pairstill.core.devices import Precision
from pairstill.core.errors import ConfigError
from pairstill.core.rng import make_generator
from pairstill.core.torch_state import use_tf32
from pairstill.distill.bilevel.inner_loop import InnerData, InnerLoop, InnerRates, InnerStep, LossHalves, draw_batches
from pairstill.distill.bilevel.matching import matching_losses
from pairstill.distill.bilevel.solvers import Hypergradient, Solver, solver
from pairstill.distill.pairs import Pixels
from pairstill.encoders.frozen import frozen_part
from pairstill.encoders.image import ImageEncoder, build_image_encoder
from pairstill.model.dual_encoder import DropoutMasks, ModelFactory, Parameters
from pairstill.model.functional import embed_images, embedded_pair_loss, pair_loss
from pairstill.tools.bench.measure import Benchmark, Extra
from pairstill.tools.bench.settings import HypergradientBench

BASELINE = "unrolled, plain contiguous memory"
LAST = "exact_store, last stages: "
RATE = 0.01
STEP = 1e-3  # of a parameter tensor's standard deviation: what the target lies away from the start


def build(settings: HypergradientBench, device: torch.device) -> Benchmark:
    """Return every mode on the same segment; what they return is compared with `unrolled` in the same layout."""
    contiguous = segment(settings, device, torch.contiguous_format)
    layout = torch.contiguous_format if settings.layout == "contiguous" else torch.channels_last
    chosen = segment(settings, device, layout)
    variants = {BASELINE: _call(contiguous, solver("unrolled"))}
    for mode in settings.modes:
        if mode == "exact_recompute":
            variants[f"{mode}, double backward"] = _call(chosen, solver(mode))
            variants[f"{mode}, forward over reverse"] = _call(chosen, solver(mode, "forward_over_reverse"))
        else:
            variants[mode] = _call(chosen, solver(mode))
    if settings.micro_batch is not None:
        name = f"exact_recompute, micro-batches of {settings.micro_batch}"
        variants[name] = _call(chosen, solver("exact_recompute", micro_batch=settings.micro_batch))
    if settings.last_stages is not None:
        variants[f"{LAST}{settings.last_stages}"] = _behind_a_stem(settings, device, layout)
    for precision in settings.precisions:
        if precision == "tf32" and device.type != "cuda":
            raise ConfigError(f"precisions hold tf32 but the device is {device}, which has none; leave it out")
        lower = segment(settings, device, layout, precision)
        for mode in settings.modes:
            if mode.startswith("exact"):
                variants[f"{mode}, {precision}"] = _call(lower, solver(mode), precision)
    return Benchmark(variants, _compare)


def _call(
    loop: InnerLoop,
    way: Solver,
    precision: Precision = "float32",
) -> Callable[[], Hypergradient]:
    def call() -> Hypergradient:
        use_tf32(precision == "tf32")
        return way(loop)

    return call


def _behind_a_stem(
    settings: HypergradientBench, device: torch.device, layout: torch.memory_format
) -> Callable[[], Hypergradient]:
    """Return an outer step whose pixels go through a frozen stem, and their gradient back through it."""
    encoder = build_image_encoder(ImageConfig(settings.model, size=settings.size, last_stages=settings.last_stages))
    stem, way = frozen_part(encoder, device, trains=True), solver("exact_store")
    loop = segment(settings, device, layout, encoder=encoder)
    pairs = replace(loop.data, images=loop.data.images.requires_grad_())

    def call() -> Hypergradient:
        seen = replace(pairs, images=Pixels(stem).seen(pairs.images))
        found = way(replace(loop, data=seen))
        (images,) = torch.autograd.grad(seen.images, pairs.images, found.images)
        return replace(found, images=images)

    return call


def segment(
    settings: HypergradientBench,
    device: torch.device,
    layout: torch.memory_format,
    precision: Precision = "float32",
    dtype: torch.dtype = torch.float32,
    encoder: ImageEncoder | None = None,
) -> InnerLoop:
    """Return a segment of a random walk, with images in the given layout and parameters as files hold them.

    Args:
        settings: model, sizes and seed.
        device: where everything is.
        layout: of the images.
        precision: what the tower multiplies in.
        dtype: of everything; the numbers are drawn in single precision.
        encoder: the image tower; None builds that of the settings, to be trained as a whole.
    """
    encoder = encoder or build_image_encoder(ImageConfig(settings.model, size=settings.size))
    factory = ModelFactory(encoder, True, settings.text_width, HeadsConfig(), device, precision)
    model, generator = factory.build().to(dtype), make_generator(settings.seed, "bench hypergradient")
    start = {name: value.to(dtype).contiguous() for name, value in factory.initial_parameters(settings.seed).items()}
    target = {name: value + STEP * _noise_like(value, generator) for name, value in start.items()}
    pairs, size = settings.pairs, settings.size
    images = torch.randn(pairs, 3, size, size, generator=generator).to(device, dtype).contiguous(memory_format=layout)
    texts = torch.randn(pairs, settings.text_width, generator=generator).to(device, dtype)
    similarity = (0.8 * torch.eye(pairs) + 0.1 * torch.rand(pairs, pairs, generator=generator)).to(device, dtype)
    batches = draw_batches(pairs, settings.batch, settings.inner_steps, generator)
    steps = [InnerStep(index.to(device), factory.draw_masks(len(index), generator)) for index in batches]
    rate = torch.tensor(RATE, device=device, dtype=dtype)

    def loss(parameters: Parameters, x: Tensor, y: Tensor, s: Tensor, masks: DropoutMasks | None) -> Tensor:
        return pair_loss(model, parameters, (x, y, s), "wbce", masks)

    def matching(end: Parameters) -> dict[str, Tensor]:
        return matching_losses(end, start, target, "per_tower")

    def of_embeddings(parameters: Parameters, u: Tensor, y: Tensor, s: Tensor, masks: DropoutMasks | None) -> Tensor:
        return embedded_pair_loss(model, parameters, (u, y, s), "wbce", masks)

    data, rates = InnerData(images, texts, similarity), InnerRates(rate, rate.clone())
    halves = LossHalves(partial(embed_images, model), of_embeddings)
    return InnerLoop(loss=loss, start=start, data=data, rates=rates, steps=steps, matching=matching, halves=halves)


def _noise_like(value: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(value.shape, generator=generator).to(value)
    # a tensor of equal entries, such as fresh gains and biases, moves too
    return noise * value.std(correction=0).clamp_min(0.1)


def _compare(outputs: Mapping[str, Hypergradient]) -> Extra:
    """Return the worst cosine and relative error of images, texts, similarities and both rates.

    What trains the last stages alone is another student, and compared with nothing.
    """
    reference = outputs.get("unrolled", outputs[BASELINE])
    return {name: agreement(found, reference) for name, found in outputs.items() if not name.startswith(LAST)}


def agreement(found: Hypergradient, reference: Hypergradient) -> dict[str, float]:
    """Return `cosine`, the lowest of the three tensors, and `relative_error`, the largest of all five gradients."""
    names = ("images", "texts", "similarity", "inner_lr_image", "inner_lr_text")
    pairs = [(getattr(found, name).double(), getattr(reference, name).double()) for name in names]
    cosines = [float((a * b).sum() / (a.norm() * b.norm())) for a, b in pairs[:3]]
    errors = [float((a - b).norm() / b.norm()) for a, b in pairs]
    return {"cosine": min(cosines), "relative_error": max(errors)}
