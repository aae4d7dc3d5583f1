"""Second derivatives against autograd's own, and spectral norms against those of matrices."""

import pytest
import torch
from torch import Tensor

from pairstill.analyze.curvature import PointDerivatives, spectral_norm


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_power_iteration_finds_the_spectral_norm() -> None:
    wide, symmetric = _random(7, 4), _random(6, 6, seed=1)
    symmetric = symmetric + symmetric.T
    found = spectral_norm(lambda v: wide @ v, lambda v: wide.T @ v, 4, 1000)
    assert found == pytest.approx(float(torch.linalg.matrix_norm(wide, 2)), rel=1e-2)
    found = spectral_norm(lambda v: symmetric @ v, lambda v: symmetric @ v, 6, 1000)
    assert found == pytest.approx(float(torch.linalg.matrix_norm(symmetric, 2)), rel=1e-2)


def test_the_zero_operator_has_norm_zero_and_few_steps_stay_below() -> None:
    assert spectral_norm(torch.zeros_like, torch.zeros_like, 3, 10) == 0.0
    matrix = _random(9, 9, seed=2)
    few = spectral_norm(lambda v: matrix @ v, lambda v: matrix.T @ v, 9, 2)
    assert 0 < few < float(torch.linalg.matrix_norm(matrix, 2))


def test_the_start_of_the_iteration_is_the_same_on_every_device() -> None:
    seen: list[Tensor] = []

    def operator(vector: Tensor) -> Tensor:
        seen.append(vector)
        return torch.ones(3, dtype=torch.float64)

    spectral_norm(operator, operator, 3, 1)
    spectral_norm(operator, operator, 3, 1, torch.device("meta"))
    starts = [seen[0], seen[2]]
    assert [start.device.type for start in starts] == ["cpu", "meta"]
    assert starts[0].dtype == starts[1].dtype == torch.float64


def test_second_derivatives_are_those_of_the_whole_matrices() -> None:
    images, a, b = _random(3, 2), _random(2, 3, seed=1), _random(3, seed=2)

    def of_vectors(theta: Tensor, x: Tensor) -> Tensor:
        return ((x.view(3, 2) @ theta[:6].view(2, 3)).tanh() @ theta[6:]).square().sum()

    point = PointDerivatives.of(
        lambda p, x: of_vectors(torch.cat([p["a"].flatten(), p["b"]]), x), {"a": a, "b": b}, images
    )
    theta, x = torch.cat([a.flatten(), b]), images.flatten()
    (hessian, mixed), _ = torch.autograd.functional.hessian(of_vectors, (theta, x))
    v, u = _random(9, seed=3), _random(6, seed=4)
    torch.testing.assert_close(point.gradient, torch.autograd.functional.jacobian(of_vectors, (theta, x))[0])
    torch.testing.assert_close(point.hessian(v), hessian @ v)
    torch.testing.assert_close(point.mixed(u), mixed @ u)
    torch.testing.assert_close(point.mixed_adjoint(v), mixed.T @ v)


def test_a_loss_that_is_linear_in_the_parameters_has_no_hessian_but_a_mixed_one() -> None:
    point = PointDerivatives.of(lambda p, x: (p["w"] * x).sum(), {"w": _random(4)}, _random(4, seed=1))
    v = _random(4, seed=2)
    assert point.hessian(v).tolist() == [0.0] * 4
    torch.testing.assert_close(point.mixed(v), v)
