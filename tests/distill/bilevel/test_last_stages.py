"""Behind a frozen stem: pixels get the gradient that they get when the stem is run in every inner step."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from pairstill.config import HeadsConfig, ImageConfig
from pairstill.distill.bilevel.inner_loop import InnerData, InnerLoop, InnerRates, InnerStep, LossHalves
from pairstill.distill.bilevel.matching import matching_losses
from pairstill.distill.bilevel.solvers import solver
from pairstill.encoders.image import build_image_encoder
from pairstill.model.dual_encoder import DualEncoder, ModelFactory, Parameters
from pairstill.model.functional import embed_images, embedded_pair_loss, pair_loss

PAIRS, CPU = 4, torch.device("cpu")
WAYS = {
    "store": solver("exact_store"),
    "recompute": solver("exact_recompute"),
    "tangents": solver("exact_recompute", "forward_over_reverse"),
    "micro-batches": solver("exact_recompute", micro_batch=2),
}


def _loop(model: DualEncoder, given: Tensor, start: Parameters) -> InnerLoop:
    generator = torch.Generator().manual_seed(1)
    noise = {n: torch.randn(v.shape, generator=generator, dtype=v.dtype) for n, v in start.items()}
    target = {name: value + 0.01 * noise[name] for name, value in start.items()}
    texts = torch.randn(PAIRS, 7, generator=generator, dtype=torch.float64)
    steps = [InnerStep(torch.tensor(index), None) for index in ([0, 1, 2], [3, 1, 0])]
    rate = torch.tensor(0.05, dtype=torch.float64)
    return InnerLoop(
        loss=lambda p, x, y, s, masks: pair_loss(model, p, (x, y, s), "wbce", masks),
        start=start,
        data=InnerData(given, texts, 0.8 * torch.eye(PAIRS, dtype=torch.float64) + 0.1),
        rates=InnerRates(rate, rate.clone()),
        steps=steps,
        matching=lambda end: matching_losses(end, start, target, "per_tower"),
        halves=LossHalves(
            partial(embed_images, model),
            lambda p, u, y, s, masks: embedded_pair_loss(model, p, (u, y, s), "wbce", masks),
        ),
    )


@pytest.mark.parametrize("name", ["nf_resnet_tiny", "mobilenetv1_075"])
@pytest.mark.parametrize("way", WAYS)
def test_pixels_get_the_gradient_of_the_stem_in_every_step(name: str, way: str) -> None:
    encoder = build_image_encoder(ImageConfig(name=name, last_stages=2, size=32))
    whole = replace(encoder, spec=replace(encoder.spec, cut=None))
    factory = ModelFactory(encoder, True, 7, HeadsConfig("linear"), CPU)
    behind = factory.build().double()
    everything = replace(factory, encoder=whole).build().double()
    start = {name: value.double() for name, value in factory.initial_parameters(0).items()}
    pixels = torch.randn(PAIRS, 3, 32, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    pixels.requires_grad_()
    stem: nn.Module = encoder.stem.requires_grad_(False)

    features = stem(pixels)
    found = WAYS[way](_loop(behind, features, start))
    (to_pixels,) = torch.autograd.grad(features, pixels, found.images)
    # parameters that the model is not given stay what they are: the stem's
    expected = solver("unrolled")(_loop(everything, pixels, start))
    torch.testing.assert_close(to_pixels, expected.images, rtol=1e-9, atol=1e-12 * float(expected.images.abs().max()))
    for part in ("texts", "similarity", "inner_lr_image", "inner_lr_text"):
        torch.testing.assert_close(getattr(found, part), getattr(expected, part), rtol=1e-9, atol=1e-12)
