"""Which image files were checked before, so that a file that has not changed since is not read again by every command.

A file has not changed if its size and its two times (of its content, and of anything about it) are what they were. The
second one cannot be set back by a program, so a file that got another content and its old time again is found too.
"""

import os
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy
from numpy.typing import NDArray

from pairstill.data.keys import key_of
from pairstill.data.sorted_files import ROW, merge, write_sorted
from pairstill.storage import digest
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
    """The images below a root that were checked and found good, as files of sorted rows below the cache.

    What is found out is written down in files of its own, a few thousand images at a time, so that a check that is
    killed goes on from there; `merge` makes one file of them all.
    """

    def __init__(self, cache_dir: Path, root: Path, max_pixels: int, background: str) -> None:
        """Open what is known; a damaged file counts as none, since all in it can be found out again.

        Args:
            cache_dir: the folder that runs share.
            root: the image root.
            max_pixels: the most pixels that an image may have.
            background: what shows through transparent pixels.
        """
        key = digest(str(_RULES), str(root), str(max_pixels), background, version("pillow"))
        self._folder = cache_folder(cache_dir, "checked") / key
        self._root = str(root)
        self._inside: dict[str, bool] = {}
        self._files = merge(self._folder)  # there are several if a check was ended
        self._contents: tuple[NDArray[numpy.uint64], NDArray[numpy.int64]] | None = None

    def known(self, images: Sequence[str]) -> list[tuple[Stamp, Seen] | None]:
        """Return what was last found out of each image, and what tells whether it still holds.

        Args:
            images: their paths relative to the root.
        """
        keys = numpy.frombuffer(b"".join(map(key_of, images)), numpy.uint64).reshape(-1, 2)
        found: list[tuple[Stamp, Seen] | None] = [None] * len(images)
        for file in self._files:  # the newest comes last
            places = file.find(keys)
            here = numpy.flatnonzero(places >= 0)
            for at, entry in zip(here.tolist(), _entries(file.rows[places[here]]), strict=True):
                found[at] = entry
        return found

    def is_as(self, image: str, stamp: Stamp) -> bool:
        """Return whether an image is as its stamp says and lies below the root."""
        return stamp == Stamp.of(f"{self._root}/{image}") and self._lies_inside(image)

    def _lies_inside(self, image: str) -> bool:
        """Return whether the folder of an image, which is no link itself, lies below the root, links followed."""
        folder = image.rpartition("/")[0]
        if folder not in self._inside:
            real = Path(os.path.realpath(f"{self._root}/{folder}"))
            self._inside[folder] = real.is_relative_to(self._root)
        return self._inside[folder]

    def pixels_of(self, content: str) -> str | None:
        """Return the digest of the pixels of a content that is known to decode as it is, or None.

        Args:
            content: SHA-256 of a file's content.
        """
        if self._contents is None:
            rows = self._files[0].rows if self._files else numpy.zeros(0, ROW)
            heads = numpy.ascontiguousarray(rows["digest"][:, :8]).view(numpy.uint64).reshape(-1)
            order = numpy.argsort(heads)
            self._contents = heads[order], order
        heads, places = self._contents
        sought = bytes.fromhex(content)
        at = int(numpy.searchsorted(heads, numpy.frombuffer(sought[:8], numpy.uint64)[0]))
        if at == len(heads):
            return None
        row = self._files[0].rows[places[at]]
        return f"{row['pixels']:016x}" if row["digest"].tobytes() == sought else None

    def keep(self, found: Mapping[str, tuple[Stamp | None, Seen]], settled_seconds: float) -> None:
        """Write down what was found in images that were read.

        Args:
            found: the stamp that each had before it was read, and what was seen; empty digests if it is bad.
            settled_seconds: a file that changed more shortly ago than this counts as one of which nothing is known.

        Raises:
            StorageError: it cannot be written.
        """
        if not found:
            return
        now = time.time_ns() - int(1e9 * settled_seconds)
        rows = numpy.zeros(len(found), ROW)
        rows["key"] = numpy.frombuffer(b"".join(map(key_of, found)), numpy.uint64).reshape(-1, 2)
        rows["size"] = -1
        for at, (stamp, seen) in enumerate(found.values()):
            if seen.digest and stamp is not None and max(stamp.written, stamp.changed) < now:
                content = numpy.frombuffer(bytes.fromhex(seen.digest), numpy.uint8)
                rows[at] = rows["key"][at], stamp.size, stamp.written, stamp.changed, content, int(seen.pixels, 16)
        write_sorted(self._folder, rows)

    def merge(self) -> None:
        """Make one file of all, if there are several."""
        self._files, self._contents = merge(self._folder), None


def _entries(rows: NDArray[numpy.void]) -> list[tuple[Stamp, Seen] | None]:
    """Return what rows say; None for one that takes back what was known."""
    stamps = zip(*(rows[name].tolist() for name in ("size", "written", "changed")), strict=True)
    digests = rows["digest"].tobytes().hex()
    return [
        None if stamp[0] < 0 else (Stamp(*stamp), Seen(digests[64 * at : 64 * at + 64], f"{pixels:016x}"))
        for at, (stamp, pixels) in enumerate(zip(stamps, rows["pixels"].tolist(), strict=True))
    ]
