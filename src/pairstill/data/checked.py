"""Which image files were checked before, so that a file that has not changed since is not read again by every command.

A file has not changed if its size and its two times (of its content, and of anything about it) are what they were. The
second one cannot be set back by a program, so a file that got another content and its old time again is found too.
"""

import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pairstill.core.errors import ArtifactError
from pairstill.storage import digest, read_sealed, write_sealed
from pairstill.storage.cache import cache_folder

# Raise it when images are refused that were not before, so that what passed then is read again.
_RULES = 1
SETTLED_SECONDS = 2.0
"""A file that changed this shortly before it was checked may change again within one tick of the disk's clock."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells that a file is as it was.

    Attributes:
        size: in bytes.
        written: when its content was written, in nanoseconds.
        changed: when anything about it was changed, in nanoseconds.
    """

    size: int
    written: int
    changed: int

    @classmethod
    def of(cls, path: str) -> "Stamp | None":
        """Return the stamp of a regular file; None for links and everything else."""
        try:
            status = os.lstat(path)
        except (OSError, ValueError):
            return None
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns) if stat.S_ISREG(status.st_mode) else None


class Checked:
    """The images below a root that were checked and found good, as a file below the cache."""

    def __init__(self, cache_dir: Path, root: Path, max_pixels: int) -> None:
        """Read what is known; a damaged file counts as none, since all in it can be found out again.

        Args:
            cache_dir: the folder that runs share.
            root: the image root.
            max_pixels: the most pixels that an image may have.
        """
        key = digest(str(_RULES), str(root), str(max_pixels), version("pillow"))
        self._path = cache_folder(cache_dir, "checked") / f"{key}.json"
        self._root = str(root)
        self._known: dict[str, tuple[Stamp, str]] = {}
        self._inside: dict[str, bool] = {}
        with suppress(ArtifactError, AttributeError, KeyError, TypeError, ValueError):
            if self._path.is_file():
                self._known = {image: _entry(text) for image, text in read_sealed(self._path)["images"].items()}
        self.digests = frozenset(content for _, content in self._known.values())
        """SHA-256 of each content that is known to decode."""

    def digest_of(self, image: str) -> str | None:
        """Return the SHA-256 of an image that has not changed since it was checked, or None.

        Args:
            image: its path relative to the root.
        """
        known = self._known.get(image)
        if known is None or known[0] != Stamp.of(f"{self._root}/{image}") or not self._lies_inside(image):
            return None
        return known[1]

    def _lies_inside(self, image: str) -> bool:
        """Return whether the folder of an image, which is no link itself, lies below the root, links followed."""
        folder = image.rpartition("/")[0]
        if folder not in self._inside:
            real = Path(os.path.realpath(f"{self._root}/{folder}"))
            self._inside[folder] = real.is_relative_to(self._root)
        return self._inside[folder]

    def keep(self, found: Mapping[str, tuple[Stamp | None, str]], settled_seconds: float) -> None:
        """Write down what was found in images that were read, unless all of it is known.

        Args:
            found: the stamp that each had before it was read, and the SHA-256 of its content; empty if it is bad.
            settled_seconds: a file that changed more shortly ago than this is left out.

        Raises:
            StorageError: the file cannot be written.
        """
        before, now = dict(self._known), time.time_ns() - int(1e9 * settled_seconds)
        for image, (stamp, content) in found.items():
            self._known.pop(image, None)
            if content and stamp is not None and max(stamp.written, stamp.changed) < now:
                self._known[image] = (stamp, content)
        if self._known != before:
            images = {
                image: f"{stamp.size} {stamp.written} {stamp.changed} {content}"
                for image, (stamp, content) in self._known.items()
            }
            write_sealed(self._path, {"images": images})


def _entry(text: str) -> tuple[Stamp, str]:
    size, written, changed, content = text.split()  # one string is read several times as fast as a list of four
    return Stamp(int(size), int(written), int(changed)), content
