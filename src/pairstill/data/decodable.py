"""Which image contents are known to decode, so that the images of a folder are decoded once and not for every command.

Files are still read and hashed each time: what is kept is about contents, and says nothing of a file that was changed.
"""

from collections.abc import Collection
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from pairstill.errors import ArtifactError
from pairstill.storage import digest, read_sealed, write_sealed
from pairstill.storage.cache import cache_folder


class Decodable:
    """The contents below an image root that decoded with at most some number of pixels, as a file below the cache."""

    def __init__(self, cache_dir: Path, root: Path, max_pixels: int) -> None:
        """Read what is known; a damaged file counts as none, since all in it can be found out again.

        Args:
            cache_dir: the folder that runs share.
            root: the image root.
            max_pixels: the most pixels that an image may have.
        """
        name = f"{digest(str(root), str(max_pixels), version('pillow'))}.json"
        self._path = cache_folder(cache_dir, "decodable") / name
        self.digests = frozenset[str]()
        """SHA-256 of each content that is known to decode."""
        with suppress(ArtifactError):
            if self._path.is_file():
                self.digests = frozenset(map(str, read_sealed(self._path)["digests"]))

    def keep(self, digests: Collection[str]) -> None:
        """Write down that these contents decode, unless all of them are known.

        Raises:
            StorageError: the file cannot be written.
        """
        if not self.digests.issuperset(digests):
            write_sealed(self._path, {"digests": sorted(self.digests.union(digests))})
