"""The errors pairstill raises; every message says what was got, what is allowed and what to do."""

from collections.abc import Sequence

SHOWN_PROBLEMS = 20


class PairstillError(Exception):
    """Base of every error that pairstill raises on purpose."""


class ConfigError(PairstillError, ValueError):
    """A setting, or a combination of settings, that cannot work."""


class DataError(PairstillError):
    """Input pairs that cannot be used as they are."""


class ArtifactError(PairstillError):
    """A stored artifact that is missing, damaged, or belongs to something else."""


class NumericalError(PairstillError):
    """A value that is not finite, or otherwise outside what the maths allows."""


class RankError(PairstillError):
    """Another process of the same run stopped, or does not answer."""


class MissingDependencyError(PairstillError, ImportError):
    """An optional package that the chosen feature needs is not installed."""


def list_problems(problems: Sequence[str], *, shown: int = SHOWN_PROBLEMS) -> str:
    """Return the first `shown` problems as indented lines, then how many more there are.

    Example:
        >>> print(list_problems(["a", "b", "c"], shown=2))
          - a
          - b
          ... and 1 more
    """
    lines = [f"  - {problem}" for problem in problems[:shown]]
    if len(problems) > shown:
        lines.append(f"  ... and {len(problems) - shown} more")
    return "\n".join(lines)
