"""A tower in two parts, a frozen stem and the last stages, which train."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pairstill.core.errors import ConfigError
from pairstill.core.rng import make_generator
from pairstill.encoders.copies import agree, sharing_copy

TOLERANCE = 1e-4
"""Of the features' norm: above what the order of sums changes, below any other function."""
EXAMPLES = "a tower of stages, such as mobilenetv1_075, resnet50 or convnext_tiny"


@dataclass(frozen=True)
class Cut:
    """Where a tower is cut in two.

    Attributes:
        module: the last module of the stem, by its name in the tower.
        shape: of what it makes of an image, (channels, height, width) in most families.
    """

    module: str
    shape: tuple[int, ...]


def find_cut(tower: nn.Module, name: str, size: int, last_stages: int) -> Cut | None:
    """Return where a tower is cut so that so many of its last stages train; None trains all of it.

    Stages are those that timm's `feature_info` of the tower names.

    Args:
        tower: the tower in evaluation mode.
        name: its name, for the message.
        size: side of the images in pixels.
        last_stages: at least one.

    Raises:
        ConfigError: the tower has no stages, fewer of them, or is not one after the other.
    """
    stages = _stages(tower)
    if not stages:
        raise ConfigError(
            f"image.last_stages is {last_stages}, but {name} says nothing of stages (timm's feature_info); take "
            f"{EXAMPLES}, or leave image.last_stages out"
        )
    if last_stages > len(stages):
        raise ConfigError(
            f"image.last_stages is {last_stages}, but {name} has {len(stages)} stages ({', '.join(stages)}); give 0 to "
            f"{len(stages)}, or leave image.last_stages out"
        )
    if last_stages == len(stages):
        return None
    module = stages[-last_stages - 1]
    shape = _shape_at(tower, module, size)
    if shape is None:
        raise ConfigError(
            f"image.last_stages is {last_stages}, but {name} cannot be cut behind {module}: it does not run its "
            f"modules one after the other; take {EXAMPLES}, or leave image.last_stages out"
        )
    return Cut(module, shape)


def stem_of(tower: nn.Module, cut: Cut) -> nn.Module:
    """Return the modules of a tower up to the cut, one after the other; they are the tower's own."""
    return nn.Sequential(*_until(tower, cut.module))


def rest_of(tower: nn.Module, cut: Cut) -> nn.Module:
    """Return the tower behind the cut, which takes what the stem gives; it shares parameters, under their names."""
    rest = sharing_copy(tower)
    for name in _names_until(rest, cut.module):
        rest.set_submodule(name, _Given() if name == cut.module else nn.Identity())
    return rest


class _Given(nn.Module):
    """What the stem gave, as a copy: the layers behind it may change it in place."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


def _stages(tower: nn.Module) -> list[str]:
    known: Any = getattr(tower, "feature_info", None)
    listed: Sequence[Any] = known if isinstance(known, list) else getattr(known, "info", ())
    return [str(stage["module"]) for stage in listed if stage.get("module")]


def _names_until(module: nn.Module, path: str, prefix: str = "") -> list[str]:
    """Return the names of the modules up to the one at `path`, each the largest that ends before or with it."""
    first, _, inside = path.partition(".")
    names = []
    for name, child in module.named_children():
        if name == first:
            return names + (_names_until(child, inside, f"{prefix}{name}.") if inside else [prefix + name])
        names.append(prefix + name)
    return names


def _until(tower: nn.Module, path: str) -> list[nn.Module]:
    return [tower.get_submodule(name) for name in _names_until(tower, path)]


@torch.no_grad()
def _shape_at(tower: nn.Module, module: str, size: int) -> tuple[int, ...] | None:
    """Return the shape of an image at the cut, or None where both parts in turn are not the tower."""
    probe = torch.randn(2, 3, size, size, generator=make_generator("probe of a cut")).to(next(tower.parameters()))
    try:
        tower.get_submodule(module)
        cut = Cut(module, ())
        between = stem_of(tower, cut)(probe)
        found = rest_of(tower, cut)(between)
    except Exception:  # each family fails in its own way where it is not one module after the other
        return None
    expected = tower(probe)
    whole = isinstance(between, Tensor) and isinstance(found, Tensor) and found.shape == expected.shape
    same = whole and agree(found, expected, TOLERANCE)
    return tuple(between.shape[1:]) if same else None
