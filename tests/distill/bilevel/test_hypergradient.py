import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from timm.models.nfnet import NormFreeNet, model_cfgs
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.func import functional_call

from pairstill.core.errors import ConfigError, NumericalError
from pairstill.distill.bilevel.inner_loop import InnerData, InnerLoop, InnerRates, InnerStep, inner_step
from pairstill.distill.bilevel.solvers import mean_hypergradient, solver
from pairstill.model.functional import loss_of_embeddings

EXACT = {
    "store": ("exact_store", "double_backward"),
    "recompute": ("exact_recompute", "double_backward"),
    "recompute, tangents": ("exact_recompute", "forward_over_reverse"),
}
PARTS = ("images", "texts", "similarity", "inner_lr_image", "inner_lr_text")
CASES = [
    {"trainable": trainable, "steps": steps, "dropout": dropout, "loss": loss}
    for trainable, steps, dropout, loss in product((False, True), (1, 8), (0.0, 0.3), ("wbce", "infonce"))
]


def forward(loop):
    """The matching loss, by the definition of the inner loop."""
    parameters = loop.start
    for step in loop.steps:
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        value = loop.loss(leaves, *loop.data.batch(step.index), step.masks)
        gradients = torch.autograd.grad(value, list(leaves.values()))
        parameters = inner_step(parameters, dict(zip(leaves, gradients, strict=True)), loop.rates)
    return sum(float(part) for part in loop.matching(parameters).values())


@pytest.fixture(params=EXACT.values(), ids=EXACT.keys())
def exact_hypergradient(request):
    """One of the exact ways."""
    return lambda loop: solver(*request.param)(loop)


def unrolled_hypergradient(loop):
    return solver("unrolled")(loop)


def by_every_exact_way(loop):
    """The hypergradient by each of the exact ways; what they are compared with is computed once for all."""
    return [solver(*way)(loop) for way in EXACT.values()]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_backpropagation_through_the_unrolled_loop(make_loop, case):
    loop = make_loop(**case)
    naive, value = unrolled_hypergradient(loop), forward(loop)
    for exact in by_every_exact_way(loop):
        for part in PARTS:
            found, expected = getattr(exact, part), getattr(naive, part)
            assert found.shape == expected.shape and found.dtype == torch.float64
            torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))
            assert expected.abs().max() > 1e-8 or (part == "similarity" and case["loss"] == "infonce")
        assert exact.losses.keys() == naive.losses.keys() == {"image", "text"}
        for part in exact.losses:
            torch.testing.assert_close(exact.losses[part], naive.losses[part], rtol=1e-12, atol=0)
        assert sum(map(float, exact.losses.values())) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("kind", ["per_tower", "joint"])
@pytest.mark.parametrize("case", [case for case in CASES if case["dropout"] > 0], ids=str)
def test_equals_central_finite_differences(make_loop, case, kind):
    loop = make_loop(**case, kind=kind)
    ways = by_every_exact_way(loop)
    eps = 1e-6

    def difference(changed):
        return (forward(changed(eps)) - forward(changed(-eps))) / (2 * eps)

    for part in ("images", "texts", "similarity"):
        gradient, values = getattr(ways[0], part), getattr(loop.data, part)
        order = gradient.abs().flatten().argsort(descending=True)
        for place in (int(order[0]), int(order[len(order) // 2])):

            def changed(step, part=part, values=values, place=place):
                moved = values.clone()
                moved.view(-1)[place] += step
                return replace(loop, data=replace(loop.data, **{part: moved}))

            expected, scale = difference(changed), float(gradient.abs().max())
            for found in ways:
                slope = float(getattr(found, part).flatten()[place])
                assert slope == pytest.approx(expected, rel=1e-5, abs=1e-6 * scale + 1e-9)
    for side in ("image", "text"):
        rate = getattr(loop.rates, side)

        def changed_rate(step, side=side, rate=rate):
            return replace(loop, rates=replace(loop.rates, **{side: rate + step}))

        expected = difference(changed_rate)
        for found in ways:
            assert float(getattr(found, f"inner_lr_{side}")) == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("case", [case for case in CASES if case["steps"] == 8], ids=str)
def test_single_precision_keeps_direction_and_size(make_loop, case):
    loop = make_loop(**case, dtype=torch.float32)
    reference = unrolled_hypergradient(make_loop(**case))
    same_precision = unrolled_hypergradient(loop)
    for found, part in product(by_every_exact_way(loop), ("images", "texts", "similarity")):
        gradient = getattr(found, part).double().flatten()
        assert gradient.dtype == torch.float64 and getattr(found, part).dtype == torch.float32
        if part == "similarity" and case["loss"] == "infonce":
            assert not gradient.any()
            continue
        expected = getattr(same_precision, part).double().flatten()
        assert torch.cosine_similarity(gradient, expected, dim=0) >= 0.99999
        assert (gradient - expected).norm() <= 1e-4 * expected.norm()
        truth = getattr(reference, part).flatten()
        assert (gradient - truth).norm() <= 1e-3 * truth.norm()


def test_one_step_on_a_quadratic_by_hand(exact_hypergradient):
    # loss x (w - y)^2 / 2: g = x (w - y), and the end is w - a x (w - y)
    w, x, y, a, target = 3.0, 0.5, 1.0, 0.2, 2.0

    def loss(parameters, images, texts, similarity, masks):
        return (images * (parameters["text_w"] - texts).square()).sum() / 2

    data = InnerData(torch.tensor([[x]]), torch.tensor([[y]]), torch.eye(1))
    rates = InnerRates(torch.tensor(9.0), torch.tensor(a))
    found = exact_hypergradient(
        InnerLoop(
            loss=loss,
            start={"text_w": torch.tensor(w)},
            data=data,
            rates=rates,
            steps=[InnerStep(torch.tensor([0]), None)],
            matching=lambda end: {"text": (end["text_w"] - target).square()},
        )
    )
    end = w - a * x * (w - y)
    slope = 2 * (end - target)
    assert found.losses["text"].item() == pytest.approx((end - target) ** 2)
    assert found.images.item() == pytest.approx(slope * -a * (w - y))
    assert found.texts.item() == pytest.approx(slope * a * x)
    assert found.inner_lr_text.item() == pytest.approx(slope * -x * (w - y))
    assert found.inner_lr_image.item() == 0
    assert found.similarity.item() == 0


def test_pairs_that_no_batch_holds_have_no_gradient(make_loop, exact_hypergradient):
    loop = make_loop(trainable=True, steps=1)
    (step,) = loop.steps
    found = exact_hypergradient(loop)
    outside = torch.ones(5, dtype=torch.bool)
    outside[step.index] = False
    assert outside.any() and not found.images[outside].any() and not found.texts[outside].any()
    assert not found.similarity[outside].any() and not found.similarity[:, outside].any()
    assert found.images[step.index].any()


def test_a_perfect_student_has_no_gradient(make_loop, exact_hypergradient):
    loop = make_loop(trainable=True, steps=2)
    end = loop.start
    for step in loop.steps:
        leaves = {name: value.detach().requires_grad_() for name, value in end.items()}
        value = loop.loss(leaves, *loop.data.batch(step.index), step.masks)
        gradients = dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))
        end = {name: value.detach() for name, value in inner_step(end, gradients, loop.rates).items()}

    def matching(student):
        return {"all": torch.stack([(student[name] - end[name]).square().sum() for name in end]).sum()}

    found = exact_hypergradient(replace(loop, matching=matching))
    assert found.losses["all"] < 1e-25
    assert all(getattr(found, part).abs().max() < 1e-10 for part in PARTS)


def test_nothing_given_is_changed(make_loop, exact_hypergradient):
    loop = make_loop(trainable=True, steps=3, dropout=0.3)
    values = [*loop.start.values(), loop.data.images, loop.data.texts, loop.data.similarity]
    before = [value.clone() for value in values]
    exact_hypergradient(loop)
    assert all(
        torch.equal(a, b) and a.grad is None and not a.requires_grad for a, b in zip(values, before, strict=True)
    )


@pytest.mark.parametrize("mode", ["exact_store", "exact_recompute"])
def test_no_graph_reaches_into_another_step(make_loop, mode):
    """A double backward of step k may not reach into another step: every leaf is detached from the others."""
    loop = make_loop(trainable=True, steps=4)
    seen = []

    def loss(parameters, *rest):
        seen.append(all(value.is_leaf for value in parameters.values()))
        return loop.loss(parameters, *rest)

    solver(mode)(replace(loop, loss=loss))
    assert len(seen) == (8 if mode == "exact_recompute" else 4) and all(seen)


@pytest.mark.parametrize("derivative", ["double_backward", "forward_over_reverse"])
def test_truncated_takes_every_step_as_if_it_were_the_last(make_loop, derivative):
    """Earlier steps as constants: each step sees the matching loss's gradient as it stands at the end."""
    loop = make_loop(trainable=True, steps=5, dropout=0.3)
    found = solver("truncated", derivative)(loop)
    parameters, trail = loop.start, []
    for step in loop.steps:
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        gradients = torch.autograd.grad(loop.loss(leaves, *loop.data.batch(step.index), step.masks), [*leaves.values()])
        trail.append(parameters)
        parameters = inner_step(parameters, dict(zip(leaves, gradients, strict=True)), loop.rates)
    expected = torch.zeros_like(loop.data.images)
    for k, step in enumerate(loop.steps):
        # the end as a function of step k's gradient alone
        data = replace(loop.data, images=loop.data.images.clone().requires_grad_())
        leaves = {name: value.detach().requires_grad_() for name, value in trail[k].items()}
        value = loop.loss(leaves, *data.batch(step.index), step.masks)
        gradients = torch.autograd.grad(value, [*leaves.values()], create_graph=True)
        end = {
            name: parameters[name] - loop.rates.of(name) * (gradient - gradient.detach())
            for name, gradient in zip(leaves, gradients, strict=True)
        }
        expected += torch.autograd.grad(sum(loop.matching(end).values()), data.images)[0]
    torch.testing.assert_close(found.images, expected, rtol=1e-9, atol=1e-12)


def test_truncated_is_exact_for_one_step_and_not_for_more(make_loop):
    one, many = make_loop(trainable=True, steps=1), make_loop(trainable=True, steps=8)
    torch.testing.assert_close(solver("truncated")(one).images, unrolled_hypergradient(one).images)
    truncated, exact = solver("truncated")(many), unrolled_hypergradient(many)
    assert (truncated.images - exact.images).norm() > 1e-3 * exact.images.norm()
    for part, value in exact.losses.items():
        torch.testing.assert_close(truncated.losses[part], value)


def test_mean_over_segments_by_hand(make_loop):
    found = [unrolled_hypergradient(make_loop(trainable=False, steps=steps)) for steps in (1, 2, 4)]
    mean = mean_hypergradient(found)
    for part in PARTS:
        values = [getattr(one, part) for one in found]
        torch.testing.assert_close(getattr(mean, part), (values[0] + values[1] + values[2]) / 3)
    for part in ("image", "text"):
        expected = sum(float(one.losses[part]) for one in found) / 3
        assert float(mean.losses[part]) == pytest.approx(expected)
    assert torch.equal(mean_hypergradient(found[:1]).images, found[0].images)


def test_a_gradient_that_is_not_finite_names_the_inner_step(make_loop, exact_hypergradient):
    loop = make_loop(trainable=False, steps=3)
    calls = []

    def loss(*arguments):
        calls.append(1)
        return loop.loss(*arguments) * (math.nan if len(calls) == 2 else 1)

    with pytest.raises(NumericalError, match=r"the inner loop's gradient of \w+\.\S+ is not finite at inner step 1"):
        exact_hypergradient(replace(loop, loss=loss))


class Double(torch.autograd.Function):
    """A function of a tower's own, which has no rule for tangents."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class Once(torch.autograd.Function):
    """A function of a tower's own, whose gradient has no gradient."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


def loop_of(tower, pairs=4, size=16):
    """Two inner steps of a tower without heads, in double precision."""
    generator = torch.Generator().manual_seed(0)
    tower = tower.double().eval()
    # untrained towers of this kind begin with branches that are off
    start = {
        name: value.detach() + 0.05 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in tower.named_parameters()
    }
    images = torch.randn(pairs, 3, size, size, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        texts = torch.randn(pairs, tower(images).shape[1], generator=generator, dtype=torch.float64)
    data = InnerData(images, texts, 0.8 * torch.eye(pairs).double() + 0.05)

    def loss(parameters, x, y, s, masks):
        return loss_of_embeddings(functional_call(tower, parameters, (x,)), y, s, "wbce", "mean")

    def matching(end):
        return {
            "joint": torch.stack([(end[name] - value + 0.01).square().sum() for name, value in start.items()]).sum()
        }

    rates = InnerRates(*torch.tensor([0.1, 0.1]).double())
    steps = [InnerStep(torch.tensor(rows), None) for rows in ([0, 1, 2], [3, 1])]
    return InnerLoop(loss=loss, start=start, data=data, rates=rates, steps=steps, matching=matching)


TOWERS = {
    # the paper's tower but for its size: SiLU, weights standardised, squeeze and excitation
    "NFNet": lambda: NormFreeNet(
        replace(model_cfgs["nfnet_l0"], depths=(1, 1), channels=(16, 16), num_features=16, group_size=8), num_classes=0
    ),
    "ViT": lambda: VisionTransformer(16, 8, embed_dim=16, depth=1, num_heads=2, num_classes=0),
    "others": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.GroupNorm(2, 4), nn.Mish(), nn.Hardsigmoid(), nn.Flatten(), nn.Linear(196, 5)
    ),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
@pytest.mark.parametrize("name", TOWERS)
def test_exact_modes_agree_on_towers_whose_layers_pytorch_does_not_differentiate_twice(name, exact_hypergradient):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loop = loop_of(TOWERS[name]())
    found, expected = exact_hypergradient(loop), unrolled_hypergradient(loop)
    for part in ("images", "texts", "similarity"):
        value = getattr(expected, part)
        torch.testing.assert_close(getattr(found, part), value, rtol=1e-6, atol=1e-7 * float(value.abs().max()))
        assert value.abs().max() > 1e-8


TANGENTS, STORE = ("exact_recompute", "forward_over_reverse"), ("exact_store", "double_backward")


@pytest.mark.parametrize(
    ("operation", "way", "message"),
    [
        (Double.apply, TANGENTS, "calls a custom autograd.Function of its own, .* set derivative to double_backward"),
        (
            torch.ops.aten.hardsigmoid,
            TANGENTS,
            "aten::hardsigmoid_backward, along .* set derivative to double_backward",
        ),
        (torch.ops.aten.hardsigmoid, STORE, "aten::hardsigmoid_backward, which .* twice.*; take another tower, or set"),
        (torch.ops.aten.hardsigmoid, ("unrolled", "double_backward"), "aten::hardsigmoid_backward, which .* twice"),
        (Once.apply, STORE, "calls a custom autograd.Function marked once_differentiable, which .* twice"),
        (Once.apply, ("exact_recompute", "double_backward"), "Function marked once_differentiable, which .* twice"),
        (Once.apply, ("unrolled", "double_backward"), "Function marked once_differentiable, which .* twice"),
    ],
)
def test_an_operation_that_cannot_be_differentiated_is_named(operation, way, message):
    class Own(nn.Sequential):
        def forward(self, x):
            return operation(super().forward(x))

    with pytest.raises(ConfigError, match=message):
        solver(*way)(loop_of(Own(nn.Flatten(), nn.Linear(768, 4))))


def test_other_errors_are_not_taken_for_that(make_loop):
    def loss(*arguments):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        solver("exact_store")(replace(make_loop(trainable=True, steps=1), loss=loss))
