"""The folders below `cache_dir`, one for each kind of thing that runs share, marked as ours so that we can remove them.

A folder of a kind is ours if a file in it says so, or, as before there were such files, if all in it is named as we
name it. Anything else below `cache_dir` belongs to the user.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from pairstill.core.errors import ConfigError
from pairstill.storage.files import write_text_atomic, writing
from pairstill.storage.owned import content_of, named

MARKER = ".pairstill"
_DIGEST = "[0-9a-f]"


@dataclass(frozen=True)
class Kind:
    """One kind of thing that runs share.

    Attributes:
        text: what it is, in words.
        entry: how an entry of it is named, as a regular expression.
    """

    text: str
    entry: str


KINDS = {
    "texts": Kind("embeddings of captions", rf"{_DIGEST}{{64}}"),
    "features": Kind("features of frozen image towers", rf"{_DIGEST}{{64}}"),
    "pixels": Kind("decoded images for trained towers", rf"{_DIGEST}{{64}}"),
    "checked": Kind("which images were checked, and are as they were", rf"{_DIGEST}{{64}}(\.json)?"),
    "manifests": Kind("checked pairs: images, captions and splits", rf"{_DIGEST}{{64}}\.arrow"),
    "images": Kind("images that a source drew or unpacked", rf"[a-z]+(-v\d+)?-{_DIGEST}{{16}}"),
    "teachers": Kind("trajectories of trained teachers", rf"{_DIGEST}{{24}}"),
    "distilled": Kind("where distilled pairs are", rf"{_DIGEST}{{24}}\.json"),
}


def cache_folder(cache_dir: Path, kind: str) -> Path:
    """Return the folder of a kind below the cache, made and marked if it is not there.

    Args:
        cache_dir: the folder that runs share.
        kind: one of `KINDS`.

    Raises:
        ConfigError: the folder holds what we did not make, or cannot be read.
        StorageError: it cannot be made.
    """
    folder = cache_dir.expanduser() / kind
    if (folder / MARKER).is_file():
        return folder
    names = [name for name in content_of(folder) if name != MARKER]  # which another process may have written just now
    if foreign := [name for name in names if not re.fullmatch(KINDS[kind].entry, name)]:
        raise ConfigError(
            f"cache_dir is {str(cache_dir)!r}, whose folder {kind} holds what pairstill did not make "
            f"({named(foreign)}); choose another cache_dir"
        )
    if not names:  # one from before there were markers may lie on a disk that is only read
        write_text_atomic(folder / MARKER, f"pairstill keeps {kind} here; `pairstill cache --remove {kind}` frees it\n")
    return folder


def entries_of(cache_dir: Path, kind: str) -> list[Path]:
    """Return what we made below the folder of a kind; nothing of a folder that is not ours, or is a link.

    Raises:
        ConfigError: the folder cannot be read.
    """
    folder = cache_dir / kind
    if folder.is_symlink() or not folder.is_dir():
        return []
    names = [name for name in content_of(folder) if name != MARKER]
    ours = [name for name in names if re.fullmatch(KINDS[kind].entry, name)]
    if len(ours) < len(names) and not (folder / MARKER).is_file():
        return []
    return [folder / name for name in ours if not (folder / name).is_symlink()]


def refuse_removal(cache_dir: Path, kind: str) -> None:
    """Refuse to remove the folder of a kind if it is a link, or not ours.

    Raises:
        ConfigError: it is; nothing is removed.
    """
    folder = cache_dir / kind
    if folder.is_symlink():
        raise ConfigError(
            f"{folder} is a link to {folder.readlink()}; nothing is removed. Remove what it points to by hand, or give "
            "the cache_dir that it lies in"
        )
    if content_of(folder) and not (folder / MARKER).is_file() and not entries_of(cache_dir, kind):
        raise ConfigError(
            f"{folder} holds what pairstill did not make ({named(content_of(folder))}); nothing is removed. Remove the "
            "kinds that are pairstill's one by one, or give the cache_dir of your runs"
        )


def remove_kind(cache_dir: Path, kind: str) -> list[str]:
    """Remove the entries of a kind, and its folder if nothing else is in it; return the names that stay.

    Raises:
        ConfigError: the folder is a link, or not ours.
        StorageError: something cannot be removed.
    """
    refuse_removal(cache_dir, kind)
    folder = cache_dir / kind
    entries = entries_of(cache_dir, kind)
    with writing(folder):
        for entry in entries:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        left = [name for name in content_of(folder) if name != MARKER]
        if not left and folder.is_dir():
            shutil.rmtree(folder)
    return left
