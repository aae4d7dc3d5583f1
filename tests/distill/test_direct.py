"""Objectives without an inner loop: by hand, against NumPy, in their limiting cases, and that they go down."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pairstill.config import CharacteristicConfig, ProjectorConfig
from pairstill.distill.characteristic import (
    CharacteristicObjective,
    characteristic_distance,
    cluster,
    draw_from_clusters,
)
from pairstill.distill.direct import DirectStep
from pairstill.distill.projector import ProjectorObjective, projector


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


def test_all_real_pairs_lose_only_their_own_infonce(make_split):
    split = make_split(images=40, captions=1, pixels=False)
    objective = ProjectorObjective.of(split, ProjectorConfig(batch_size=16))
    images, texts = split.image_inputs(split.caption_owner), split.texts(torch.arange(40))
    losses = objective.losses(DirectStep(images, texts, {}, torch.Generator().manual_seed(0)))
    assert float(losses["projector"]) == pytest.approx(0, abs=1e-6)
    assert float(losses["similarity"]) == pytest.approx(0, abs=1e-6) and float(losses["infonce"]) > 0
    assert objective.adversary() == {}
    added = ProjectorObjective.of(split, ProjectorConfig(batch_size=16), "sum")
    others = added.losses(DirectStep(images, texts, {}, torch.Generator().manual_seed(0)))
    assert float(others["infonce"]) == pytest.approx(2 * float(losses["infonce"]), rel=1e-6)


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
    return CharacteristicObjective(lambda x, y: torch.cat([x, y], 1), real, labels, torch.tensor([0, 0, 1, 1]), config)


def test_the_same_sample_has_no_distance(on_points):
    objective = replace(on_points, labels=on_points.real_labels)
    x, y = objective.real.chunk(2, 1)
    losses = objective.losses(DirectStep(x, y, objective.adversary(), torch.Generator().manual_seed(0)))
    assert float(losses["characteristic"]) < 1e-4


def test_distances_go_down_and_the_adversary_goes_up(on_points):
    x, y = (torch.zeros(4, 2).requires_grad_() for _ in range(2))
    scales = on_points.adversary()["log_scales"].requires_grad_()

    def value():
        draw = torch.Generator().manual_seed(0)
        return on_points.losses(DirectStep(x, y, {"log_scales": scales}, draw))["characteristic"]

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


class Means:
    """Half the square distance to a fixed mean, and an adversary that has nothing to gain but its sign."""

    def adversary(self):
        return {"weight": torch.ones(2)}

    def losses(self, step):
        return {"mean": (step.images.mean() - 3).square() + step.texts.square().mean() + step.adversary["weight"].sum()}


def test_a_phase_minimises_its_objective_and_the_adversary_goes_against_it(make_problem, distil):
    problem = make_problem(trainable=True, loss="infonce", phase={"outer_steps": 20})
    initial = {**problem.initial, "adversary/weight": torch.ones(2)}
    reports = []
    learned = distil(replace(problem, objective=Means(), initial=initial), on_step=reports.append)
    assert reports[-1].losses["mean"] < reports[0].losses["mean"]
    assert (learned["adversary/weight"] > 1).all()
    assert reports[0].experts == [] and torch.equal(learned["inner_lr_image"], initial["inner_lr_image"])
