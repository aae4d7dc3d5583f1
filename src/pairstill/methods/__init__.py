"""The methods: each is one module that says what it is, and one line here."""

from dataclasses import replace

from pairstill.config import RunConfig
from pairstill.errors import ConfigError
from pairstill.methods.apm import APM
from pairstill.methods.base import Method
from pairstill.methods.coresets import FORGETTING, HERDING, K_CENTER, RANDOM
from pairstill.methods.datm import DATM
from pairstill.methods.features_first import FEATURES_FIRST
from pairstill.methods.lors import LORS
from pairstill.methods.mct import MCT
from pairstill.methods.mtt_vl import MTT_VL
from pairstill.methods.ncfm import NCFM
from pairstill.methods.ptm_st import PTM_ST
from pairstill.methods.ptm_st_blend import PTM_ST_BLEND
from pairstill.methods.repblend import REPBLEND
from pairstill.wording import did_you_mean, nearest

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
    REPBLEND,
    PTM_ST_BLEND,
    APM,
    FEATURES_FIRST,
)


def find_method(name: str) -> Method:
    """Return the method with this name.

    Raises:
        ConfigError: there is none.
    """
    for method in METHODS:
        if method.name == name:
            return method
    names = [method.name for method in METHODS]
    raise ConfigError(f"method is {name!r}{did_you_mean(nearest(name, names))} The methods are {', '.join(names)}")


def with_method(config: RunConfig) -> RunConfig:
    """Return the settings with the parts that their method sets; settings that have them already stay as they are.

    Raises:
        ConfigError: there is no such method, or it does not go with the other settings.
    """
    method = find_method(config.method)
    distill = method.set_parts(config)
    if "features" in method.needs and config.image.trainable:
        kind = "residual" if distill.blend else "linear"
        raise ConfigError(
            f"method {method.name} needs a frozen image tower, but image.trainable is on; freeze it and give its side "
            f"a head: --image.trainable false --heads.image true --heads.width 512 --heads.kind {kind}"
        )
    return replace(config, distill=distill)
