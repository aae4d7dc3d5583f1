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

# Raise it when images are refused that were not before, or seen otherwise, so that what passed then is read again.
_RULES = 2
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


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in an image file.

    Attributes:
        digest: SHA-256 of the file's content, or of that and of what was done to its pixels.
        pixels: digest of the picture's pixels.
    """

    digest: str
    pixels: str


class Checked:
    """The images below a root that were checked and found good, as a file below the cache."""

    def __init__(self, cache_dir: Path, root: Path, max_pixels: int, background: str) -> None:
        """Read what is known; a damaged file counts as none, since all in it can be found out again.

        Args:
            cache_dir: the folder that runs share.
            root: the image root.
            max_pixels: the most pixels that an image may have.
            background: what shows through transparent pixels.
        """
        key = digest(str(_RULES), str(root), str(max_pixels), background, version("pillow"))
        self._path = cache_folder(cache_dir, "checked") / f"{key}.json"
        self._root = str(root)
        self._known: dict[str, tuple[Stamp, Seen]] = {}
        self._inside: dict[str, bool] = {}
        with suppress(ArtifactError, AttributeError, KeyError, TypeError, ValueError):
            if self._path.is_file():
                self._known = {image: _entry(text) for image, text in read_sealed(self._path)["images"].items()}
        self.pixels = {seen.digest: seen.pixels for _, seen in self._known.values()}
        """The digest of the pixels of each content that is known to decode."""

    def seen_in(self, image: str) -> Seen | None:
        """Return what was seen in an image that has not changed since it was checked, or None.

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

    def keep(self, found: Mapping[str, tuple[Stamp | None, Seen]], settled_seconds: float) -> None:
        """Write down what was found in images that were read, unless all of it is known.

        Args:
            found: the stamp that each had before it was read, and what was seen; empty digests if it is bad.
            settled_seconds: a file that changed more shortly ago than this is left out.

        Raises:
            StorageError: the file cannot be written.
        """
        before, now = dict(self._known), time.time_ns() - int(1e9 * settled_seconds)
        for image, (stamp, seen) in found.items():
            self._known.pop(image, None)
            if seen.digest and stamp is not None and max(stamp.written, stamp.changed) < now:
                self._known[image] = (stamp, seen)
        if self._known != before:
            images = {
                image: f"{stamp.size} {stamp.written} {stamp.changed} {seen.digest} {seen.pixels}"
                for image, (stamp, seen) in self._known.items()
            }
            write_sealed(self._path, {"images": images})


def _entry(text: str) -> tuple[Stamp, Seen]:
    size, written, changed, content, pixels = text.split()  # one string is read several times as fast as a list of five
    return Stamp(int(size), int(written), int(changed)), Seen(content, pixels)
