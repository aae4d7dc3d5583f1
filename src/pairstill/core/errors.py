"""The errors pairstill raises; every message says what was got, what is allowed and what to do."""

import errno
from collections.abc import Sequence
from pathlib import Path

SHOWN_PROBLEMS = 20
SHOWN_CHARACTERS = 200

_ELSEWHERE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENXIO)
"""What no room mends: the place cannot have files, or not of this user."""


class PairstillError(Exception):
    """Base of every error that pairstill raises on purpose."""


class ConfigError(PairstillError, ValueError):
    """A setting, or a combination of settings, that cannot work."""


class DataError(PairstillError):
    """Input pairs that cannot be used as they are."""


class ArtifactError(PairstillError):
    """A stored artifact that is missing, damaged, or belongs to something else."""


class StorageError(PairstillError, OSError):
    """A file that cannot be written: a full disk, a folder that is read-only or belongs to someone else."""

    @classmethod
    def cannot_write(cls, path: Path, reason: Exception) -> "StorageError":
        """Return the error for a file that could not be written; what was there before still is."""
        why = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
        if isinstance(reason, OSError) and reason.errno in _ELSEWHERE:
            do = "Choose another run_dir, or another folder where it is none of a run, or make this one writable"
        else:
            do = "Make room, or make the folder writable, and the same command goes on from there"
        return cls(f"{path} cannot be written ({why}); what is on the disk is whole. {do}")


class BusyError(PairstillError):
    """A folder that another process is at work in."""


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


def shown(value: object) -> str:
    """Return `value` as Python writes it, cut where a message would no longer be one: a caption may have megabytes.

    Example:
        >>> shown("a caption")
        "'a caption'"
    """
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}... ({len(text)} characters)"


def printable(name: str) -> str:
    r"""Return the name of a file as it is, or as Python writes it if it cannot be printed, or is no text in UTF-8.

    Example:
        >>> printable("a.tar"), printable("a\udcff.tar")
        ('a.tar', "'a\\udcff.tar'")
    """
    return name if name.isprintable() else shown(name)
