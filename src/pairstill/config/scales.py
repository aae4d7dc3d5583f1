"""Grids of what rates are multiplied with, which are searched one kind of rates after the other."""

from collections.abc import Sequence

from pairstill.config.checks import require


def require_scales(owner: str, scales: Sequence[float]) -> None:
    """Refuse scales that are not above 0, or not finite.

    Raises:
        ConfigError: they are; the message names `owner`.
    """
    allowed = all(0 < scale < float("inf") for scale in scales)
    require(allowed, f"{owner} are {list(scales)}; each must be above 0, and finite")


def trials_of(scales: Sequence[float], kinds: int) -> int:
    """Return how many trials a search of so many kinds of rates has: 1 is tried once, whether it is named or not.

    Example:
        >>> trials_of((0.1, 1.0, 3.0), kinds=2), trials_of((1.0,), kinds=2), trials_of((0.1,), kinds=0)
        (5, 0, 0)
    """
    others = len(set(scales) - {1.0})
    return 1 + kinds * others if kinds and others else 0
