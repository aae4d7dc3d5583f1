"""Mini-batches whose images go through the tower some at a time give what whole ones give."""

from dataclasses import fields, replace

import pytest
import torch

from pairstill.config import HypergradientConfig
from pairstill.distill.bilevel.inner_loop import LossHalves
from pairstill.distill.bilevel.solvers import solver

CASES = [
    {"trainable": trainable, "dropout": dropout, "loss": loss}
    for trainable in (True, False)
    for dropout in (0.0, 0.3)
    for loss in ("wbce", "infonce")
]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("mode", ["exact_recompute", "truncated"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_whole_mini_batches(make_loop, case, mode, size):
    loop = make_loop(**case, steps=5)
    found, expected = solver(mode, micro_batch=size)(loop), solver(mode)(loop)
    for field in fields(found):
        if field.name != "losses":
            torch.testing.assert_close(getattr(found, field.name), getattr(expected, field.name), rtol=1e-9, atol=1e-12)
    for part, value in expected.losses.items():
        torch.testing.assert_close(found.losses[part], value, rtol=1e-12, atol=0)


def test_no_more_images_than_the_size_are_seen_at_a_time(make_loop):
    loop = make_loop(trainable=True, steps=3)
    seen = []

    def embed_images(parameters, images, masks):
        seen.append(len(images))
        return loop.halves.embed_images(parameters, images, masks)

    halves = LossHalves(embed_images, loop.halves.of_embeddings)
    solver("exact_recompute", micro_batch=2)(replace(loop, halves=halves))
    assert max(seen) == 2 and sum(seen) == 2 * 2 * sum(len(step.index) for step in loop.steps)


def test_a_phase_distils_the_same_pairs(make_problem, distil):
    whole = distil(make_problem(hypergradient=HypergradientConfig(mode="exact_recompute")))
    parts = distil(make_problem(hypergradient=HypergradientConfig(mode="auto", micro_batch=2)))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-5)
