"""Objectives without an inner loop: by hand, against NumPy, in their limiting cases, and that they go down."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pairstill.config import CharacteristicConfig, OuterConfig, ProjectorConfig, RunConfig, TrajectoryConfig
from pairstill.core.rng import make_generator
from pairstill.distill.bilevel.inner_loop import InnerData
from pairstill.distill.characteristic import (
    SCALES,
    CharacteristicObjective,
    characteristic_distance,
    cluster,
    draw_from_clusters,
)
from pairstill.distill.learned import Variable, initial_values
from pairstill.distill.objective import Stateless, differentiated
from pairstill.distill.projector import (
    Covariances,
    ProjectorObjective,
    caption_subsets,
    projector,
    softened_divergence,
    targets_of,
)
from pairstill.methods import with_method


def _random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_projector_without_texts_covariance_is_ridge_regression():
    """With white texts W is, up to their scale, the ridge regression of texts on images, which NumPy solves too."""
    images = _random(50, 4)
    texts, _ = torch.linalg.qr(_random(50, 3, seed=1) - _random(50, 3, seed=1).mean(0))
    texts = texts - texts.mean(0)
    found = projector(images, texts, 0.1).numpy()
    x, y = (images - images.mean(0)).numpy(), (texts - texts.mean(0)).numpy()
    penalty = np.sqrt(0.1 * np.mean(np.sum(x * x, 0))) * np.eye(4)
    solved, *_ = np.linalg.lstsq(np.vstack([x, penalty]), np.vstack([y, np.zeros((4, 3))]), rcond=None)
    cov = y.T @ y / 50
    whitened = solved @ np.linalg.inv(cov + 0.1 * np.mean(np.diag(cov)) * np.eye(3))
    np.testing.assert_allclose(found, whitened, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("pairs", "widths"), [(50, (4, 3)), (6, (9, 4)), (6, (4, 9)), (6, (9, 8))])
def test_the_projector_is_the_same_solved_among_dimensions_or_among_pairs(pairs, widths):
    images, texts = _random(pairs, widths[0]), _random(pairs, widths[1], seed=1)
    x, y = images - images.mean(0), texts - texts.mean(0)
    image, text = (side.T @ side / pairs for side in (x, y))
    image, text = (s + 0.3 * s.diagonal().mean() * torch.eye(len(s), dtype=s.dtype) for s in (image, text))
    plain = torch.linalg.inv(image) @ (x.T @ y / pairs) @ torch.linalg.inv(text)
    torch.testing.assert_close(projector(images, texts, 0.3), plain)


def test_two_factors_make_the_projector_or_the_best_of_its_rank():
    images, texts = _random(30, 6), _random(30, 5, seed=1)
    found = Covariances.of(images, texts)
    whole = projector(images, texts, 0.3)
    a, b = found.factors(0.3, 8)
    assert a.shape == (6, 8) and b.shape == (5, 8)
    torch.testing.assert_close(a @ b.T, whole)

    # with white sides the best of a rank is that of least square error, which the singular values of W tell
    white, _ = torch.linalg.qr(images - images.mean(0))
    other, _ = torch.linalg.qr(texts - texts.mean(0))
    a, b = Covariances.of(white, other).factors(0.3, 2)
    whole = projector(white, other, 0.3)
    rest = torch.linalg.svdvals(whole)[2:].square().sum()
    assert float((a @ b.T - whole).square().sum()) == pytest.approx(float(rest))


def test_both_factors_weigh_alike():
    """A direction that is found on both sides with the correlation s has the length s^1/2 on each."""
    a, b = Covariances.of(_random(30, 6), _random(30, 5, seed=1)).factors(0.3, 5)
    images, texts = (side.T @ side / 30 for side in (_centred(_random(30, 6)), _centred(_random(30, 5, seed=1))))
    images, texts = (s + 0.3 * s.diagonal().mean() * torch.eye(len(s), dtype=s.dtype) for s in (images, texts))
    torch.testing.assert_close(a.T @ images @ a, b.T @ texts @ b)


def _centred(rows):
    return rows - rows.mean(0)


def test_captions_make_as_many_subsets_as_an_image_has():
    owner = torch.tensor([0, 1, 0, 2, 2, 2])
    assert [subset.tolist() for subset in caption_subsets(owner)] == [[0, 1, 3], [2, 1, 4], [0, 1, 5]]


def test_the_gradient_of_the_divergence_does_not_fade_with_its_temperature():
    logits, wanted = _random(6, 6).requires_grad_(), _random(6, 6, seed=1)
    sizes = []
    for temperature in (100.0, 1000.0):
        (gradient,) = torch.autograd.grad(softened_divergence(logits, wanted, temperature), [logits])
        sizes.append(float(gradient.norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)


def projector_objective(split, ridge, info_nce="mean"):
    config = ProjectorConfig(batch_size=16)
    return ProjectorObjective(None, split, targets_of(split, ridge), ridge, config, info_nce, seed=0)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def pairs_of(images, texts):
    return InnerData(images, texts, torch.eye(len(images)))


def test_all_real_pairs_lose_only_their_own_infonce(make_split):
    split = make_split(images=40, captions=2, pixels=False)
    objective = projector_objective(split, 0.5)
    first, second = objective.targets
    captions = torch.arange(0, 80, 2) + 1
    pairs = pairs_of(split.image_inputs(split.caption_owner[captions]), split.texts(captions))
    losses = objective.losses(pairs, second, draw())
    assert float(losses["projector"]) == pytest.approx(0, abs=1e-6)
    assert float(losses["similarity"]) == pytest.approx(0, abs=1e-3) and float(losses["infonce"]) > 0
    others = projector_objective(split, 0.5, "sum").losses(pairs, second, draw())
    assert float(others["infonce"]) == pytest.approx(2 * float(losses["infonce"]), rel=1e-6)
    # the other captions' projector is another target
    assert float(objective.losses(pairs, first, draw())["projector"]) > 0.01


def test_targets_take_turns(make_split, make_problem):
    split = make_split(images=40, captions=2, pixels=False)
    pairs = make_problem(trainable=False, loss="infonce").pairs
    objective = replace(projector_objective(split, 0.5), pairs=pairs)
    assert objective.variables().keys() == pairs.variables().keys()
    values = {name: value.clone().requires_grad_() for name, value in initial_values(pairs.variables()).items()}
    for number in range(3):
        (step,) = objective.step(values, number)
        assert step.gradients.keys() == {"images", "texts"}
        drawn = make_generator(0, "phase", 1, "step", number, "turn", 0)
        expected = objective.losses(pairs.render(values).data, objective.targets[number % 2], drawn)
        assert {part: float(value) for part, value in step.losses.items()} == pytest.approx(
            {part: float(value.detach()) for part, value in expected.items()}
        )


def test_the_distance_of_projectors_counts_beside_the_other_parts(make_split):
    """Of pairs that know nothing: with its old weight of 0.01 it was two hundred times smaller than InfoNCE."""
    split = make_split(images=40, captions=1, pixels=False)
    objective = projector_objective(split, 1.0)
    pairs = pairs_of(split.image_inputs(torch.arange(6)), split.texts(torch.arange(6, 12)))
    losses = objective.losses(pairs, objective.targets[0], draw())
    assert float(losses["projector"]) > float(losses["infonce"])


def test_characteristic_functions_by_hand():
    # at t = pi/2: exp(i t 0) = 1 and exp(i t 1) = i, so that Phi = (1 + i)/2 against Phi' = 1
    real, one, t = (
        torch.tensor([[0.0], [1.0]]).double(),
        torch.zeros(1, 1).double(),
        torch.tensor([[np.pi / 2]], dtype=torch.float64),
    )
    amplitude, phase = (1 - 2**-0.5) ** 2, 2 * 2**-0.5 * (1 - 2**-0.5)
    for alpha in (0.0, 0.3, 1.0):
        expected = (alpha * amplitude + (1 - alpha) * phase) ** 0.5
        assert float(characteristic_distance(real, one, t, alpha)) == pytest.approx(expected, abs=1e-6)


def test_half_amplitude_half_phase_is_the_plain_difference():
    a, b, t = _random(20, 3), _random(9, 3, seed=1), _random(7, 3, seed=2)
    plain = (torch.exp(1j * (a @ t.T)).mean(0) - torch.exp(1j * (b @ t.T)).mean(0)).abs().mean() / 2**0.5
    assert float(characteristic_distance(a, b, t, 0.5)) == pytest.approx(float(plain), rel=1e-6)


def test_clusters_and_pairs_drawn_from_them():
    points = torch.cat([_random(10, 2) * 0.01 + corner for corner in (0.0, 5.0, 10.0)]).float()
    labels = cluster(points, 3, seed=0)
    assert [len(set(labels[rows].tolist())) for rows in torch.arange(30).split(10)] == [1, 1, 1]
    drawn = draw_from_clusters(labels, 9, torch.Generator().manual_seed(0))
    assert sorted(labels[drawn].tolist()) == sorted([0, 1, 2] * 3) and len(set(drawn.tolist())) == 9
    # a cluster of one row gives it, the others give the rest
    few = draw_from_clusters(torch.tensor([0, 1, 1, 1, 1]), 4, torch.Generator().manual_seed(0))
    assert 0 in few and len(set(few.tolist())) == 4


@pytest.fixture
def on_points():
    real = torch.cat([_random(50, 4) + 2, _random(50, 4, seed=1) - 2]).float()
    labels = torch.arange(2).repeat_interleave(50)
    config = CharacteristicConfig(frequencies=64)
    of = torch.tensor([0, 0, 1, 1])
    return CharacteristicObjective(None, lambda x, y: torch.cat([x, y], 1), real, labels, of, config, seed=0)


def plain_scales(objective):
    return torch.zeros(objective.real.shape[1])


def test_the_same_sample_has_no_distance(on_points):
    x, y = on_points.real[50:].chunk(2, 1)
    assert float(on_points.distance(pairs_of(x, y), 1, plain_scales(on_points), draw())) < 1e-4


def test_every_cluster_is_compared_with_its_own_real_pairs(on_points):
    # the first cluster's real pairs are around 2: pairs there are nearer to them than to the second's
    x = torch.full((2, 2), 2.0)
    near, far = (float(on_points.distance(pairs_of(x, x), label, plain_scales(on_points), draw())) for label in (0, 1))
    assert near < far


def test_the_distance_of_a_cluster_by_hand(on_points):
    x, y = torch.ones(2, 2), torch.zeros(2, 2)
    found = on_points.distance(pairs_of(x, y), 0, plain_scales(on_points), draw())
    frequencies = torch.randn(64, 4, generator=draw())
    distance = characteristic_distance(on_points.real[:50], torch.cat([x, y], 1), frequencies, 0.5)
    assert float(found) == pytest.approx(float(distance), rel=1e-4)


def test_distances_go_down_and_the_scales_take_them_up(on_points):
    x, y = (torch.zeros(4, 2).requires_grad_() for _ in range(2))
    scales = plain_scales(on_points).requires_grad_()

    def value():
        return sum(
            on_points.distance(pairs_of(x[rows], y[rows]), label, scales, draw())
            for label, rows in ((0, slice(0, 2)), (1, slice(2, 4)))
        )

    first = value().item()
    optimizer = torch.optim.Adam([x, y], 0.1)
    for _ in range(60):
        optimizer.zero_grad()
        value().backward()
        optimizer.step()
    lower = value().item()
    assert lower < 0.9 * first  # two points cannot be distributed as fifty
    (uphill,) = torch.autograd.grad(value(), [scales])
    with torch.no_grad():
        scales += 0.01 * uphill / uphill.norm()
    assert value().item() > lower


def characteristic_of(problem, labels):
    return CharacteristicObjective(
        problem.pairs,
        lambda x, y: F.normalize(torch.cat([x, y], 1), dim=1),
        F.normalize(_random(30, 5 + 7, seed=3).float(), dim=1),
        torch.arange(30) % 2,
        labels,
        CharacteristicConfig(),
        seed=0,
    )


def test_every_cluster_has_a_move_with_its_own_pairs(make_problem):
    objective = characteristic_of(make_problem(trainable=False, loss="infonce"), torch.tensor([1, 0, 1, 0, 1]))
    values = {name: value.clone().requires_grad_() for name, value in initial_values(objective.variables()).items()}
    moved = [step.gradients["texts"].abs().sum(1).nonzero().flatten().tolist() for step in objective.step(values, 0)]
    assert moved == [[1, 3], [0, 2, 4]]
    first = next(iter(objective.step(values, 0)))
    assert first.gradients.keys() == {"images", "texts", SCALES}
    data = objective.pairs.render(values, torch.tensor([1, 3])).data
    drawn = make_generator(0, "phase", 1, "step", 0, "turn", 0)
    distance = objective.distance(data, 0, torch.zeros(12), drawn)
    assert float(first.losses["characteristic"]) == pytest.approx(300 * float(distance.detach()), rel=1e-4)


class Means(Stateless):
    """The square distance to a fixed mean, in moves for one pair each, and a weight that gains by growing."""

    def __init__(self, pairs, moves=2):
        self.pairs, self.moves = pairs, moves

    def variables(self):
        return {**self.pairs.variables(), "weight": Variable(torch.ones(2), 0.01, ascends=True)}

    def step(self, values, number):
        for move in range(self.moves):
            data = self.pairs.render(values, torch.tensor([move])).data
            loss = (data.images.mean() - 3).square() + data.texts.square().mean() + values["weight"].sum()
            yield differentiated({"mean": loss}, values)


def test_a_phase_minimises_its_objective_and_what_ascends_goes_against_it(make_problem, distil):
    problem = make_problem(trainable=True, loss="infonce", phase={"outer_steps": 20})
    initial, reports = initial_values(problem.variables()), []
    learned = distil(problem, on_step=reports.append, moved_by=Means(problem.pairs))
    assert reports[-1].losses["mean"] < reports[0].losses["mean"]
    assert (learned["weight"] > 1).all()
    assert reports[0].notes == {} and reports[0].to_json()["inner_lr_text"] == pytest.approx(0.2)
    assert torch.equal(learned["inner_lr_image"], initial["inner_lr_image"])
    moved = (learned["texts"] - initial["texts"]).abs().amax(1)
    assert (moved[:2] > 0).all() and not moved[2:].any(), "the pairs that have a move go, the others stay"


def test_ncfm_moves_its_pairs_at_the_papers_rates(make_problem, distil):
    """By the paper's SGD at 0.1, on the distance itself, pairs moved by less than a thousandth of a deviation."""
    paper = OuterConfig(optimizer="sgd", rate_unit="absolute", lr_images=0.1, lr_texts=0.1)
    outer = with_method(RunConfig(method="ncfm", distill=TrajectoryConfig(outer=paper))).distill.loop.outer
    problem = make_problem(trainable=False, loss="infonce", phase={"outer_steps": 20}, outer=asdict(outer))
    initial = initial_values(problem.variables())
    learned = distil(problem, moved_by=characteristic_of(problem, torch.arange(5) % 2))
    for name in ("images", "texts"):
        moved = (learned[name] - initial[name]).square().mean().sqrt() / initial[name].std()
        assert moved > 0.1, f"{name} moved by {moved:.4f} of a deviation"


def test_pairs_of_other_moves_go_on_by_their_moments(make_problem, distil):
    """With AdamW a pair that has had its turn moves on in the turns of others, as in the authors' code."""

    def moved(moves):
        outer = {"optimizer": "adamw"}
        problem = make_problem(trainable=True, loss="infonce", phase={"outer_steps": 1}, outer=outer, ema=False)
        learned = distil(problem, moved_by=Means(problem.pairs, moves))
        return (learned["texts"] - initial_values(problem.variables())["texts"])[0].abs().mean()

    assert moved(2) > 1.1 * moved(1)
