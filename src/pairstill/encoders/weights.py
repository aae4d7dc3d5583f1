"""Whether weights are those of a tower: all of them, of its shapes, and finite."""

from collections.abc import Iterable

from torch import nn

from pairstill.core.errors import ConfigError, list_problems

_SHOWN = 6


def check_keys(what: str, *, missing: Iterable[str], other: Iterable[str], left_over: Iterable[str]) -> None:
    """Refuse weights that are not a tower's.

    Args:
        what: names the weights and the tower, as the beginning of the error.
        missing: weights that the tower has and the file has not.
        other: weights of another shape or kind, with what they are.
        left_over: weights that the tower has no place for.

    Raises:
        ConfigError: there are any.
    """
    problems = [f"{key} is missing" for key in sorted(missing)] + sorted(other)
    problems += [f"{key} has no place in it" for key in sorted(left_over)]
    if problems:
        raise ConfigError(
            f"{what}:\n{list_problems(problems, shown=_SHOWN)}\nGive weights of this tower, and all of them"
        )


def check_finite(what: str, tower: nn.Module) -> None:
    """Refuse weights that hold NaN or infinities.

    Args:
        what: names the weights, as the beginning of the error.
        tower: the tower that has them.

    Raises:
        ConfigError: it is so; the message names the tensor.
    """
    for key, value in tower.state_dict().items():
        if not bool(value.isfinite().all()):
            raise ConfigError(f"{what} holds values that are not finite in {key}; the weights are damaged: give others")
