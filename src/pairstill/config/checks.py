"""What the settings check themselves with."""

from pairstill.core.errors import ConfigError


def require(condition: bool, message: str) -> None:
    """Refuse settings for which `condition` does not hold.

    Raises:
        ConfigError: with `message`, which says what was got, what is allowed and what to do.
    """
    if not condition:
        raise ConfigError(message)


def require_positive(owner: str, **values: float) -> None:
    """Refuse settings of `owner` that are not above 0.

    Raises:
        ConfigError: one of `values` is not; the message names it.
    """
    for name, value in values.items():
        require(value > 0, f"{owner}.{name} is {value}; it must be above 0")
