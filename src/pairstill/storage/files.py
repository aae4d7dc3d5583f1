"""Files that appear whole or not at all, and the digests of files."""

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from pairstill.core.errors import StorageError
from pairstill.storage.locks import exclusive, is_abandoned

_AT_ONCE = 2**16
"""Bytes of short parts that are hashed together; a longer part, which may be a whole file, is not copied."""


class Digest:
    """SHA-256 of parts that are added one after another, and of their lengths, so ("ab", "c") differs from ("a", "bc").

    Example:
        >>> state = Digest()
        >>> state.add("ab", "c")
        >>> state.hex() == digest("ab", "c")
        True
    """

    def __init__(self) -> None:
        """Begin without parts."""
        self._state, self._pending = hashlib.sha256(), bytearray()

    def add(self, *parts: str | bytes) -> None:
        """Add parts to those from before."""
        for part in parts:
            data = part.encode() if isinstance(part, str) else part
            self._pending += len(data).to_bytes(8, "big")
            if len(data) >= _AT_ONCE:
                self._hash()
                self._state.update(data)
                continue
            self._pending += data
            if len(self._pending) >= _AT_ONCE:
                self._hash()

    def _hash(self) -> None:
        self._state.update(self._pending)
        self._pending.clear()

    def hex(self) -> str:
        """Return the digest of all parts so far."""
        self._hash()
        return self._state.hexdigest()


def digest(*parts: str | bytes) -> str:
    """Return the hex `Digest` of the parts."""
    return digest_all(parts)


def digest_all(parts: Iterable[str | bytes]) -> str:
    """Return the hex `Digest` of any number of parts, of which few are in memory."""
    state = Digest()
    for part in parts:
        state.add(part)
    return state.hex()


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8.

    Raises:
        OSError: it is not there, cannot be read, or is no file: a pipe would be waited for, a device has no end.
        UnicodeDecodeError: it is not UTF-8.
    """
    return _regular(path).read_text(encoding="utf-8")


def _regular(path: Path) -> Path:
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return path


def file_digest(path: Path) -> str:
    """Return the hex SHA-256 of a file's content.

    Raises:
        OSError: it is not there, cannot be read, or is no file.
    """
    with _regular(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Make a folder beside `path`, which is removed afterwards; what killed processes left behind for it goes first.

    Raises:
        StorageError: the folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    except OSError as error:
        raise StorageError.cannot_write(path, error) from error
    try:
        with exclusive(folder):
            for other in path.parent.glob(f".{escape(path.name)}.*.tmp"):
                with suppress(OSError):
                    other.rmdir()  # when it is empty; a process that is about to lock it makes it again
                if is_abandoned(other):
                    shutil.rmtree(other, ignore_errors=True)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a temporary file beside `path`, flush it to disk, then rename it onto `path`.

    Raises:
        StorageError: it cannot be written; the old file is as it was.
    """
    with temporary_folder(path) as folder, writing(path):
        temporary = folder / path.name
        write(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says of a file that the block cannot write into an error that names it.

    Raises:
        StorageError: the block raised an `OSError`.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError.cannot_write(path, error) from error


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that readers see the old file or the whole new one.

    Raises:
        StorageError: it cannot be written; the old file is as it was.
    """

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomic(path, write)


def write_text_atomic(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`; see `write_bytes_atomic`."""
    write_bytes_atomic(path, text.encode())
