"""Whose a folder is: what somebody else put there is not written over, and not removed."""

import re
from collections.abc import Callable
from pathlib import Path

from pairstill.core.errors import ConfigError
from pairstill.storage.files import writing
from pairstill.storage.locks import LOCK

SHOWN_NAMES = 3
_PASSING = re.compile(rf"\{LOCK}|\..*\.tmp")
"""A lock, and what a process that was killed was about to write."""


def content_of(folder: Path, setting: str = "the folder") -> list[str]:
    """Return the names in a folder, without locks and temporary files of ours; none if there is no folder.

    Raises:
        ConfigError: it is a file, or cannot be read.
    """
    try:
        return sorted(path.name for path in folder.iterdir() if not _PASSING.fullmatch(path.name))
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise ConfigError(f"{setting} is {str(folder)!r}, which is a file; give a folder") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{setting} is {str(folder)!r}, which cannot be read: {why}") from error


def refuse_others(folder: Path, what: str, setting: str, is_own: Callable[[Path], bool]) -> None:
    """Refuse a folder that is neither empty nor ours, before anything is written to it.

    Args:
        folder: the folder; it need not be there.
        what: what it holds if it is ours, in words, such as `a run`.
        setting: the setting that names it.
        is_own: says of a folder that is not empty whether it is ours.

    Raises:
        ConfigError: it holds something else, is a file, or cannot be read.
    """
    names = content_of(folder, setting)
    if names and not is_own(folder):
        raise ConfigError(
            f"{setting} is {str(folder)!r}, which is not empty and does not hold {what} ({named(names)}): nothing of "
            f"yours is written over; choose another {setting}, or an empty folder"
        )


def refuse_used(out: Path, what: str) -> None:
    """Refuse a folder that is to be made if there is something already.

    Args:
        out: the folder; it may be there if it is empty.
        what: what it is for, in words, such as `the export`.

    Raises:
        ConfigError: it holds something, or is a file.
        StorageError: it cannot be looked at.
    """
    with writing(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError(f"{out} exists already; choose another folder for {what}, or delete it")


def named(names: list[str]) -> str:
    """Return the first names of a folder, and how many more there are.

    Example:
        >>> named(["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
        "'a.jpg', 'b.jpg', 'c.jpg' and 1 more"
    """
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(map(repr, names[:SHOWN_NAMES])) + more
