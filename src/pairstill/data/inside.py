"""Files that a dataset names: read only where they lie in its folder, are files, and are no larger than a picture."""

import os
import stat
from pathlib import Path

from pairstill.core.errors import DataError, shown

MAX_FILE_BYTES = 256 * 2**20
"""No picture and no caption is as large as this."""


class MissingFileError(DataError):
    """There is no such file."""


def path_of(name: str, setting: str) -> Path:
    """Return the absolute path, links followed, that a setting names, whether or not anything is there.

    Args:
        name: a path, perhaps relative to a home folder (`~`).
        setting: the setting's name, for the message.

    Raises:
        DataError: there can be nothing of that name: it holds a NUL, is too long or no UTF-8, or is a link to itself.
    """
    try:
        path = Path(name).expanduser().resolve()
        path.exists()
        str(path).encode()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: no such home, a loop of links
        raise DataError(f"{setting} is {shown(name)}, which is not a path ({error}); give another") from error
    return path


def find_inside(root: Path, name: str) -> Path:
    """Return the file that `name` leads to, links followed.

    Args:
        root: the folder that it must lie in, resolved.
        name: a path, relative to `root` or absolute.

    Raises:
        DataError: it lies elsewhere or is no regular file; the message is the end of a sentence that begins with it.
    """
    if "\0" in name:
        raise DataError("is not the path of a file")
    try:
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise DataError(f"leads out of {root} (to {path})")
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise MissingFileError(f"is missing from {root}") from error
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise DataError(f"cannot be read ({error})") from error
    if not stat.S_ISREG(mode):
        raise DataError("is not a file")  # opening a pipe would wait for ever, reading a device fill the memory
    return path


def read_inside(root: Path, name: str, most: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of the file that `name` leads to, of at most so many bytes; see `find_inside`.

    Raises:
        DataError: it lies elsewhere, is no regular file, is too large, or cannot be read.
    """
    path = find_inside(root, name)
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > most:
                raise DataError(f"has {size} bytes; at most {most} are allowed")
            return stream.read(size)
    except OSError as error:
        raise DataError(f"cannot be read ({error})") from error
