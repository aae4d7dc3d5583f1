"""Checks of single images before any work: where the path leads, and whether the file decodes."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from PIL import Image

from pairstill.core.errors import DataError
from pairstill.data.checked import SETTLED_SECONDS, Checked, Seen, Stamp
from pairstill.data.images import Decoded, decode
from pairstill.data.inside import MissingFileError, read_inside
from pairstill.events import Emit, ImagesChecked, silent
from pairstill.storage import digest

_MAX_THREADS = 32
_SHORT = re.compile(r"(?:(?!\.{0,2}/)[^/\0]+/)*(?!\.{1,2}$)[^/\0]+", re.DOTALL)
_AT_ONCE = 32
BLOCK_IMAGES = 4096
"""Images that are taken up, and written down as checked, at a time."""


@dataclass(frozen=True)
class Checking:
    """How images are checked.

    Attributes:
        cache_dir: the folder that runs share, for what was found out.
        max_pixels: larger images are refused from their header, before decoding.
        background: what shows through transparent pixels, as `data.background` has it.
        verify: whether images are read again that have not changed since they were checked.
        settled_seconds: a file that changed this shortly before it was checked is read again the next time.
        decode: decodes the content of a file, and raises `DataError` if that cannot be done.
    """

    cache_dir: Path
    max_pixels: int
    background: str
    verify: bool = False
    settled_seconds: float = SETTLED_SECONDS
    decode: Callable[..., Decoded] = decode


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """The outcome for one image file.

    Attributes:
        digest: SHA-256 of the file's content, or of that and of what was done to its pixels (turned upright, laid on a
            background), so that whatever is kept of the image is kept for how it is seen; empty if there is a problem.
        problem: what is wrong, as the end of a sentence that begins with the image; None if nothing is.
        missing: whether the problem is that there is no such file.
        read: whether the file was read, and not known from before.
        stamp: what tells later that the file is as it was; None where nothing does.
        pixels: digest of the pixels, which copies of a picture in other files share.
    """

    digest: str
    problem: str | None = None
    missing: bool = False
    read: bool = True
    stamp: Stamp | None = None
    pixels: str = ""


def clean_path(image: str) -> str:
    """Return `image` in its shortest form ("./a//b.jpg" becomes "a/b.jpg").

    Raises:
        DataError: the path is absolute, climbs with "..", or names no file.
    """
    if _SHORT.fullmatch(image):
        return image  # as nearly all are, which a path would take far longer to say
    path = PurePosixPath(image)
    if path.is_absolute() or ".." in path.parts:
        raise DataError("leaves the image root; paths must be relative to it and without '..'")
    if not path.parts or "\0" in image:
        raise DataError("is not the path of a file")
    return str(path)


def check_images(
    root: Path,
    images: Sequence[str],
    checking: Checking,
    emit: Emit = silent,
) -> Iterator[ImageCheck]:
    """Yield one outcome for each image, in order; those that have changed since the last time are read and decoded.

    What is found out is kept as it goes: a check that was ended goes on from there.

    Args:
        root: the image root, resolved.
        images: paths relative to `root`, as `clean_path` returns them, each once; they are asked for in parts.
        checking: how they are checked.
        emit: told now and then, and at the end, how many images of how many are checked.
    """
    checked = Checked(checking.cache_dir, root, checking.max_pixels, checking.background)
    found: dict[str, tuple[Stamp | None, Seen]] = {}
    # Decoding leaves Python's lock, so threads use the cores without starting processes.
    with ThreadPoolExecutor(max_workers=min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(images), BLOCK_IMAGES):
            block = images[start : start + BLOCK_IMAGES]
            known = [None] * len(block) if checking.verify else checked.known(block)
            parts = [slice(at, at + _AT_ONCE) for at in range(0, len(block), _AT_ONCE)]
            checks = pool.map(partial(_check_part, root, block, known, checking, checked), parts)
            done = start
            for some, outcomes in zip(parts, checks, strict=True):
                yield from outcomes
                done += len(outcomes)
                emit(ImagesChecked(done=done, total=len(images)))
                read = zip(block[some], outcomes, strict=True)
                found |= {image: (one.stamp, Seen(one.digest, one.pixels)) for image, one in read if one.read}
            if len(found) >= BLOCK_IMAGES:
                checked.keep(found, checking.settled_seconds)
                found = {}
    checked.keep(found, checking.settled_seconds)
    checked.merge()


def _check_part(
    root: Path,
    block: Sequence[str],
    known: Sequence[tuple[Stamp, Seen] | None],
    checking: Checking,
    checked: Checked,
    part: slice,
) -> list[ImageCheck]:
    """Return the outcomes of some images of a block."""
    outcomes = []
    for image, before in zip(block[part], known[part], strict=True):
        if before is not None and checked.is_as(image, before[0]):
            outcomes.append(ImageCheck(before[1].digest, read=False, pixels=before[1].pixels))
        else:
            outcomes.append(check_image(root, image, checking, None if checking.verify else checked.pixels_of))
    return outcomes


def check_image(
    root: Path, image: str, checking: Checking, pixels_of: Callable[[str], str | None] | None = None
) -> ImageCheck:
    """Return the outcome for one image.

    Args:
        root: the image root, resolved.
        image: its path relative to `root`.
        checking: how it is checked.
        pixels_of: returns the digest of the pixels of a content that is known to decode as it is, by the content's
            digest; None if nothing is known.
    """
    stamp = Stamp.of(f"{root}/{image}")  # before it is read, so that a change while it is read is found later
    try:
        content = read_inside(root, image)
        seen, changed = hashlib.sha256(content).hexdigest(), ""
        pixels = None if pixels_of is None else pixels_of(seen)
        if pixels is None:
            picture = checking.decode(content, background=checking.background, max_pixels=checking.max_pixels)
            pixels, changed = _digest_of_pixels(picture.image), picture.changed
    except MissingFileError as error:
        hint = "; write / between its folders, not a backslash" if "\\" in image else ""
        return ImageCheck("", f"{error}{hint}", missing=True)
    except DataError as error:
        return ImageCheck("", str(error))
    return ImageCheck(digest(seen, changed) if changed else seen, stamp=stamp, pixels=pixels)


def _digest_of_pixels(image: Image.Image) -> str:
    size = f"{image.width} {image.height} ".encode()
    return hashlib.blake2b(size + image.tobytes(), digest_size=8).hexdigest()
