"""Trained towers in bfloat16: only the tower, and gradients of float32 parameters."""

import pytest
import torch

from pairstill.distill.bilevel.inner_loop import InnerData, InnerLoop, InnerRates, InnerStep
from pairstill.distill.bilevel.matching import matching_losses
from pairstill.distill.bilevel.solvers import solver
from pairstill.model.functional import pair_loss


def _embedded(make_factory, precision, x, y):
    factory = make_factory(precision=precision)
    model, parameters = factory.build(), factory.initial_parameters(0)
    return torch.func.functional_call(model, parameters, (x, y))


def test_the_tower_alone_is_rounded(make_factory):
    x, y = torch.randn(4, 3, 6, 6), torch.randn(4, 7)
    (u, v), (rounded, same) = (_embedded(make_factory, p, x, y) for p in ("float32", "bfloat16"))
    assert rounded.dtype == torch.float32 and torch.equal(v, same)
    assert not torch.equal(u, rounded)
    torch.testing.assert_close(u, rounded, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("mode", "derivative"),
    [("exact_store", "double_backward"), ("exact_recompute", "double_backward"), ("unrolled", "double_backward")],
)
def test_the_hypergradient_keeps_its_direction(make_factory, walk, mode, derivative):
    def found(precision, mode, derivative):
        factory = make_factory(precision=precision, dropout=0.0)
        model, start, generator = factory.build(), factory.initial_parameters(0), torch.Generator().manual_seed(0)
        target = walk(start, 1, size=0.1)[0]
        data = InnerData(
            torch.randn(4, 3, 6, 6, generator=generator), torch.randn(4, 7, generator=generator), 0.9 * torch.eye(4)
        )
        loop = InnerLoop(
            loss=lambda p, x, y, s, masks: pair_loss(model, p, (x, y, s), "wbce", masks),
            start=start,
            data=data,
            rates=InnerRates(torch.tensor(0.1), torch.tensor(0.1)),
            steps=[InnerStep(torch.arange(4), None)] * 3,
            matching=lambda end: matching_losses(end, start, target, "per_tower"),
        )
        return solver(mode, derivative)(loop)

    exact, rounded = found("float32", "unrolled", "double_backward"), found("bfloat16", mode, derivative)
    assert rounded.images.dtype == torch.float32
    for part in ("images", "texts", "similarity"):
        a, b = getattr(exact, part).flatten(), getattr(rounded, part).flatten()
        assert 0.98 < torch.cosine_similarity(a, b, dim=0) and not torch.equal(a, b)
