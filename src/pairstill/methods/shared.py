"""Settings of the trajectory family, which the files of a benchmark hold, for methods with settings of their own."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pairstill.config import MethodConfig, PhaseConfig, RunConfig, TrajectoryConfig
from pairstill.config.checks import require
from pairstill.core.errors import ConfigError

Built = TypeVar("Built")


def in_own_words(shared: Mapping[str, Any], kind: type[MethodConfig]) -> dict[str, Any]:
    """Return what settings of the trajectory family mean to a method with other settings, as plain values.

    All pairs and steps of the phases are the method's, a warm start does as many steps as over all phases, and settings
    that both have are the same; the others mean nothing to it. What the method itself has there already comes first.

    Args:
        shared: plain values by name, some of which may be the method's own.
        kind: the class of the method's settings.

    Example:
        >>> from pairstill.methods.coresets import CoresetConfig
        >>> in_own_words({"phases": [{"num_pairs": 9}, {"num_pairs": 5}], "ema": True, "endpoint": 3}, CoresetConfig)
        {'num_pairs': 14, 'endpoint': 3}
    """
    found = kind.of_phases(shared) if shared.get("phases") else {}
    for own, name in kind.SHARED.items():
        group, _, last = name.partition(".")
        if isinstance(shared.get(group), Mapping) and last in shared[group]:
            found[own] = shared[group][last]
    names = {field.name for field in fields(kind)}
    same = {name: value for name, value in shared.items() if name in names and name not in found}
    return {**found, **same, **{name: shared[name] for name in found if name in shared and name != "features_first"}}


def built(kind: type[Built], values: Mapping[str, Any]) -> Built:
    """Return settings of a class, with those inside it, from plain values by name.

    Raises:
        ConfigError: the values are not allowed, or of settings that the class does not have.
    """
    hints = get_type_hints(kind)
    unknown = sorted(values.keys() - {field.name for field in fields(kind)})  # pyright: ignore[reportArgumentType]
    if unknown:
        raise ConfigError(f"there is no setting {', '.join(unknown)} in {kind.__name__}")
    return kind(**{name: _built(hints[name], value) for name, value in values.items()})


def _built(hint: Any, value: Any) -> Any:
    inside = [kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)]
    if inside and isinstance(value, Mapping):
        return built(inside[0], value)  # pyright: ignore[reportArgumentType]
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_built(inside[0], entry) if inside else entry for entry in value)
    return value


def own_settings(config: RunConfig, kind: type[MethodConfig]) -> MethodConfig:
    """Return the settings of a run's method, of a class.

    Raises:
        ConfigError: `distill` holds the settings of yet another method.
    """
    if isinstance(config.distill, kind):
        return config.distill
    if not isinstance(config.distill, TrajectoryConfig):
        raise ConfigError(
            f"distill holds {type(config.distill).__name__}, but method {config.method} takes {kind.__name__}; give it "
            "that, or TrajectoryConfig"
        )
    return built(kind, in_own_words(asdict(config.distill), kind))


def one_phase(distill: TrajectoryConfig) -> TrajectoryConfig:
    """Return the settings with one phase in place of several: all their pairs and steps, the first one's start range.

    The steps of a warm start are all phases' too. With a single phase already the phase stays as it is.
    """
    first = distill.phases[0]
    phase = PhaseConfig(
        num_pairs=distill.num_pairs,
        outer_steps=sum(phase.outer_steps for phase in distill.phases),
        range_start=first.range_start,
        range_end=first.range_end,
        endpoint=first.endpoint,
    )
    warm = distill.features_first
    warm = replace(warm, steps=warm.steps * len(distill.phases))  # each of the phases would do as many
    return replace(distill, phases=(phase,), phased=False, features_first=warm)


def endpoint_of(shared: Mapping[str, Any]) -> int:
    """Return the endpoint of the first of the phases in settings of the trajectory family, as plain values."""
    return shared["phases"][0].get("endpoint", PhaseConfig.endpoint)


def refuse_late(endpoint: int, run: RunConfig) -> None:
    """Refuse the epoch of a teacher that it does not reach, if it is read.

    Raises:
        ConfigError: it does not.
    """
    require(
        0 < endpoint <= run.teacher.epochs or run.teacher.keep == "all",
        f"distill.endpoint is {endpoint}, but teachers train {run.teacher.epochs} epochs; lower it",
    )
