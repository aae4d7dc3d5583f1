"""One writer to a folder: a lock that the system lets go of when its process ends, however it ends.

The lock is `flock` on a file in the folder, so a crash or SIGKILL leaves nothing to clean up; the file itself stays,
and says who holds the lock, or held it last. Readers ask for no lock.

On network file systems the lock is as good as theirs: NFS passes it on to the server (mounted with `nolock`, or with
`local_lock=flock`, it holds on one machine only); a file system without any gives a warning.
"""

import errno
import fcntl
import json
import os
import socket
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pairstill.core.errors import BusyError, StorageError

LOCK = ".lock"
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_held: "weakref.WeakValueDictionary[Path, Lock]" = weakref.WeakValueDictionary()


class Lock:
    """A folder that this process alone writes to, until nothing refers to the lock any more; made by `hold`."""

    def __init__(self, descriptor: int) -> None:
        """Keep the lock that is on an open file."""
        self._close = weakref.finalize(self, os.close, descriptor)


def hold(folder: Path, on_wait: Callable[[str], None] | None = None) -> Lock:
    """Return the lock of a folder; a process that holds it already gets the same one.

    Args:
        folder: the folder; made if it does not exist.
        on_wait: called with who holds the lock, before waiting until it is free; without it, a held lock is an error.

    Raises:
        BusyError: another process holds the lock; the message names it.
        StorageError: the folder cannot be written to.
    """
    path = folder.resolve() / LOCK
    if (known := _held.get(path)) is not None:
        return known
    descriptor = _open(path)
    _take(descriptor, path, folder, on_wait)
    _held[path] = lock = Lock(descriptor)
    return lock


@contextmanager
def exclusive(folder: Path, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of a folder inside the block; see `hold`."""
    lock = hold(folder, on_wait)
    try:
        yield
    finally:
        del lock


@contextmanager
def to_hand_over(folder: Path) -> Iterator[int]:
    """Give the open file that the lock of a folder is on, for processes begun in the block; see `hold`.

    One that inherits it, as `subprocess` lets it with `pass_fds`, holds the lock until it ends, whatever becomes of
    this process.
    """
    path = folder.resolve() / LOCK
    descriptor = _open(path)
    _take(descriptor, path, folder, on_wait=None)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_abandoned(folder: Path) -> bool:
    """Return whether a process held the lock of a folder and ended before it could remove the folder."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(descriptor).st_size > 0  # one that has not signed yet may just be about to take it
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise StorageError.cannot_write(path, error) from error


def _take(descriptor: int, path: Path, folder: Path, on_wait: Callable[[str], None] | None) -> None:
    """Take the lock on an open file and sign it, or close the file."""
    try:
        _lock(descriptor, folder, on_wait)
        _sign(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise StorageError.cannot_write(path, error) from error
    except BaseException:
        os.close(descriptor)
        raise


def _lock(descriptor: int, folder: Path, on_wait: Callable[[str], None] | None) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        if on_wait is None:
            raise BusyError(
                f"{folder} is in use by {_holder(descriptor)}; wait until that has ended, end it, or choose another "
                "folder"
            ) from error
        on_wait(_holder(descriptor))
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        warnings.warn(
            f"{folder} is on a file system without locks ({error.strerror}): start only one process on it", stacklevel=5
        )


def _sign(descriptor: int) -> None:
    """Write down who holds the lock."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _holder(descriptor: int) -> str:
    """Return who holds a lock, as the end of "in use by"."""
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {found['pid']} on {found['host']} since {found['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"  # which has not signed yet
