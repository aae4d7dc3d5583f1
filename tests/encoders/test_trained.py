"""Trained towers whose batch norms are folded into convolutions: the same function of the same parameters."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.func import functional_call

from pairstill.config import ImageConfig
from pairstill.encoders.image import build_image_encoder
from pairstill.encoders.trained import trained_tower


def _randomised(tower: nn.Module) -> nn.Module:
    """Return the tower with statistics and weights far from the identity, in double precision."""
    generator = torch.Generator().manual_seed(0)
    for layer in tower.modules():
        if isinstance(layer, nn.BatchNorm2d):
            n = layer.num_features
            assert layer.running_mean is not None and layer.running_var is not None
            layer.running_mean.copy_(0.3 * torch.randn(n, generator=generator))
            layer.running_var.copy_(0.5 + torch.rand(n, generator=generator))
            layer.weight.data.copy_(0.5 + torch.rand(n, generator=generator))
            layer.bias.data.copy_(0.2 * torch.randn(n, generator=generator))
    return tower.double().eval()


def _folded(tower: nn.Module) -> int:
    return sum(type(layer).__name__ == "_Folded" for layer in tower.modules())


def _value_and_gradients(tower: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    leaves = {name: value.detach().clone().requires_grad_() for name, value in tower.named_parameters()}
    value = functional_call(tower, leaves, (x,))
    found = torch.autograd.grad(value.sin().sum(), list(leaves.values()))
    return value, dict(zip(leaves, found, strict=True))


@pytest.mark.parametrize(("name", "norms"), [("mobilenetv1_075", 27), ("resnet18", 20), ("mobilenetv3_small_050", 34)])
def test_a_folded_tower_is_the_same_function_of_the_same_parameters(name: str, norms: int) -> None:
    tower = _randomised(build_image_encoder(ImageConfig(name=name, size=32)).tower)
    folded = trained_tower(tower, (3, 32, 32))
    assert _folded(folded) == norms and _folded(tower) == 0
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    value, gradients = _value_and_gradients(folded, x)
    expected, expected_gradients = _value_and_gradients(tower, x)
    assert list(gradients) == list(expected_gradients)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[parameter], rtol=1e-9, atol=1e-9)


def test_a_folded_tower_shares_its_parameters() -> None:
    tower = build_image_encoder(ImageConfig(name="mobilenetv1_075", size=32)).tower
    own, shared = dict(tower.named_parameters()), dict(trained_tower(tower, (3, 32, 32)).named_parameters())
    assert list(own) == list(shared) and all(shared[name] is value for name, value in own.items())


class _Between(nn.Module):
    """A batch norm that sees more than the convolution registered before it."""

    def __init__(self, *, taken: bool) -> None:
        super().__init__()
        self.taken, self.conv, self.norm = taken, nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x) + x if self.taken else self.conv(x) * 1).mean((2, 3))


class _Twice(nn.Module):
    """A convolution and a batch norm that are called one after the other, and the norm once more."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.norm(self.conv(x))).mean((2, 3))


class _Checks(nn.Module):
    """A tower that looks at what its convolution gave."""

    def __init__(self, error: type[Exception]) -> None:
        super().__init__()
        self.error, self.conv, self.norm = error, nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        between = self.conv(x)
        if not isinstance(between, torch.Tensor):
            raise self.error
        return self.norm(between).mean((2, 3))


class _Shared(nn.Module):
    """A convolution that is called twice, each time with another batch norm behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.other = nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.other(self.conv(self.norm(self.conv(x)))).mean((2, 3))


@pytest.mark.parametrize(
    "tower",
    [
        *(_Between(taken=True), _Between(taken=False), _Twice(), _Shared()),
        *(_Checks(AssertionError), _Checks(ValueError)),
    ],
)
def test_a_tower_that_cannot_be_folded_stays_as_it_is(tower: nn.Module) -> None:
    assert trained_tower(_randomised(tower), (3, 8, 8)) is tower


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)],
        [nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4, track_running_stats=False)],
        [nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4, affine=False)],
        [nn.Conv2d(3, 4, 3, bias=False, padding=1, padding_mode="circular"), nn.BatchNorm2d(4)],
        [nn.Conv2d(3, 4, 3, bias=False, padding="same"), nn.BatchNorm2d(4)],
        [nn.Conv2d(3, 4, 3, bias=False, padding="valid"), nn.BatchNorm2d(4)],
        [nn.Conv2d(3, 4, 1, bias=False), BatchNormAct2d(4, drop_layer=nn.Dropout)],
        [nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1, bias=False)],
    ],
)
def test_layers_that_are_not_a_plain_pair_stay(layers: list[nn.Module]) -> None:
    tower = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    assert trained_tower(tower, (3, 8, 8)) is tower
