"""The methods: each is one module that says what it is, and one line here."""

from collections.abc import Sequence
from dataclasses import replace

from pairstill.config import RunConfig, TrajectoryConfig
from pairstill.core.errors import ConfigError
from pairstill.core.formatting import did_you_mean, nearest
from pairstill.methods.apm import APM
from pairstill.methods.base import Method
from pairstill.methods.coresets import FORGETTING, HERDING, K_CENTER, RANDOM
from pairstill.methods.ncfm import NCFM
from pairstill.methods.shared import one_phase, own_settings
from pairstill.methods.trajectory import (
    DATM,
    FEATURES_FIRST,
    LORS,
    MCT,
    MTT_VL,
    PTM_ST,
    PTM_ST_AUTO,
    PTM_ST_BLEND,
    PTM_ST_KEPT,
    REPBLEND,
)

METHODS: tuple[Method, ...] = (
    RANDOM,
    HERDING,
    K_CENTER,
    FORGETTING,
    MTT_VL,
    LORS,
    DATM,
    MCT,
    NCFM,
    PTM_ST,
    PTM_ST_AUTO,
    REPBLEND,
    PTM_ST_BLEND,
    APM,
    FEATURES_FIRST,
    PTM_ST_KEPT,
)


def find_method(name: str, among: Sequence[Method] | None = None) -> Method:
    """Return the method with this name, among these or all that there are.

    Raises:
        ConfigError: there is none.
    """
    methods = METHODS if among is None else among
    for method in methods:
        if method.name == name:
            return method
    names = [method.name for method in methods]
    raise ConfigError(f"method is {name!r}{did_you_mean(nearest(name, names))} The methods are {', '.join(names)}")


def with_method(config: RunConfig, among: Sequence[Method] | None = None) -> RunConfig:
    """Return the settings as their method has them; those that it has resolved already stay as they are.

    Args:
        config: the settings.
        among: the methods that there are, if not those of this package.

    Raises:
        ConfigError: there is no such method, or it does not go with the other settings.
    """
    method = find_method(config.method, among)
    distill = own_settings(config, method.settings)
    if isinstance(distill, TrajectoryConfig):
        distill = one_phase(distill) if method.one_phase else distill
        distill = method.follow(distill, config)
    distill = replace(distill, **{fixed.name: fixed.value for fixed in method.fixed})
    if "features" in method.needs and config.image.trains:
        kind = "residual" if isinstance(distill, TrajectoryConfig) and distill.blend else "linear"
        raise ConfigError(
            f"method {method.name} needs a frozen image tower, but image.trainable is on; freeze it and give its side "
            f"a head: --image.trainable false --heads.image true --heads.width 512 --heads.kind {kind}"
        )
    if config.towers and not method.matches_trajectories:
        raise ConfigError(
            f"method {method.name} makes pairs for one image tower, but towers names {len(config.towers)} more; leave "
            "towers out, or choose a method that matches trajectories: "
            + ", ".join(method.name for method in METHODS if method.matches_trajectories)
        )
    return replace(config, distill=distill)
