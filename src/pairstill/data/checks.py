"""Checks of single images before any work: where the path leads, and whether the file decodes."""

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pairstill.data.images import decode_rgb
from pairstill.errors import DataError

_MAX_THREADS = 8


@dataclass(frozen=True)
class ImageCheck:
    """The outcome for one image file.

    Attributes:
        digest: SHA-256 of the file's content; empty if there is a problem.
        problem: what is wrong, as the end of a sentence that begins with the image; None if nothing is.
        missing: whether the problem is that there is no such file.
    """

    digest: str
    problem: str | None = None
    missing: bool = False


def clean_path(image: str) -> str:
    """Return `image` in its shortest form ("./a//b.jpg" becomes "a/b.jpg").

    Raises:
        DataError: the path is absolute, climbs with "..", or names no file.
    """
    path = PurePosixPath(image)
    if path.is_absolute() or ".." in path.parts:
        raise DataError("leaves the image root; paths must be relative to it and without '..'")
    if not path.parts or "\0" in image:
        raise DataError("is not the path of a file")
    return str(path)


def check_images(
    root: Path,
    images: Sequence[str],
    max_pixels: int,
    *,
    decodable: Collection[str] = (),
    on_images: Callable[[int, int], None] = lambda done, total: None,
) -> list[ImageCheck]:
    """Read and decode every image, in threads, and return one outcome each, in order.

    Args:
        root: the image root, resolved.
        images: paths relative to `root`, as `clean_path` returns them.
        max_pixels: larger images are refused from their header, before decoding.
        decodable: digests of contents that are known to decode, which need not be decoded again.
        on_images: told how many images of how many are checked.
    """
    checks: list[ImageCheck] = []
    # Decoding leaves Python's lock, so threads use the cores without starting processes.
    with ThreadPoolExecutor(max_workers=min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        for check in pool.map(lambda image: check_image(root, image, max_pixels, decodable), images):
            checks.append(check)
            on_images(len(checks), len(images))
    return checks


def check_image(root: Path, image: str, max_pixels: int, decodable: Collection[str] = ()) -> ImageCheck:
    """Return the outcome for one image; see `check_images`."""
    try:
        path = (root / image).resolve()
        if not path.is_relative_to(root):
            return ImageCheck("", f"is a link that leaves the image root (to {path})")
        if not path.exists():
            return ImageCheck("", f"is missing from {root}", missing=True)
        if not path.is_file():
            return ImageCheck("", "is not a file")
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest not in decodable:
            decode_rgb(content, max_pixels=max_pixels)
    except DataError as error:
        return ImageCheck("", str(error))
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links, before Python 3.13
        return ImageCheck("", f"cannot be read ({error})")
    return ImageCheck(digest)
