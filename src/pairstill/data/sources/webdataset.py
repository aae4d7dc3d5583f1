"""Tar shards in the WebDataset layout: the members of a sample share a name and differ in extension."""

import hashlib
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pairstill.config import DataConfig
from pairstill.data.sources.extraction import extract_once
from pairstill.data.sources.raw import RawPair, RawPairs, parse_listing, root_of
from pairstill.errors import DataError, MissingDependencyError, shown
from pairstill.schema import SPLITS, Split
from pairstill.storage import digest, writing

# Raise it when extracted folders change, so that old ones are not taken for new ones.
_VERSION = 1
# Compressed shards may hold far more than their size; no image or caption is as large as this.
MAX_MEMBER_BYTES = 256 * 2**20
_META = re.compile(r"__[^/]*__($|/)")


def read(config: DataConfig, cache_dir: Path) -> RawPairs:
    """Read the shards of three splits, and copy their images byte for byte into the cache, once.

    A text member holds one caption per line. Files are named by their content and their extension alone, so no
    member name can lead out of the cache, and samples that repeat an image become one image.

    Args:
        config: `splits` are globs of shards relative to `root`; `columns.image` are the extensions of images,
            separated by semicolons ("jpg;png"), `columns.caption` the extension of the text ("txt").
        cache_dir: receives `images/webdataset-<key>/`.

    Raises:
        DataError: a glob matches no shard, or a shard is damaged.
        MissingDependencyError: the package webdataset is not installed.
    """
    shards: dict[Split, list[Path]] = {split: _find_shards(config, split) for split in SPLITS}
    parts = [str(_VERSION), config.columns.image, config.columns.caption]
    for split, paths in shards.items():
        for path in paths:
            # Size and time instead of content: reading terabytes again only to name a folder would be absurd.
            status = path.stat()
            parts += [split, str(path), str(status.st_size), str(status.st_mtime_ns)]
    key = f"webdataset-{digest(*parts)[:16]}"
    return extract_once(cache_dir, key, lambda folder: _write(folder, shards, config))


def _find_shards(config: DataConfig, split: Split) -> list[Path]:
    root, pattern = root_of(config).resolve(), getattr(config.splits, split)
    try:
        found = sorted(path for path in root.glob(pattern) if path.is_file())
    except (NotImplementedError, ValueError) as error:
        raise DataError(f"data.splits.{split} is {pattern!r} ({error}); give a glob relative to data.root") from error
    if not found:
        raise DataError(f"no shard in {root} matches {pattern!r}; set data.root and data.splits.{split}")
    return found


def _write(folder: Path, shards: Mapping[Split, list[Path]], config: DataConfig) -> Iterator[RawPair | str]:
    extensions = [part.strip().lower().lstrip(".") for part in config.columns.image.split(";")]
    text = config.columns.caption.lower().lstrip(".")
    for split, paths in shards.items():
        for shard in paths:
            for sample in _samples(shard):
                key = sample["__key__"]
                where = f"{shard.name}: {key if key.isprintable() else shown(key)}"
                extension = next((e for e in extensions if e in sample), None)
                if extension is None or text not in sample:
                    members = ", ".join(sorted(name for name in sample if not name.startswith("__")))
                    yield (
                        f"{where}: members {members}; it needs an image ({' or '.join(extensions)}) and {text}. "
                        "Set data.columns.image and data.columns.caption"
                    )
                    continue
                image = _write_image(folder, sample[extension], extension)
                yield _listing(image, sample[text], split, where)


def _samples(shard: Path) -> Iterator[dict[str, Any]]:
    """Yield the samples of one shard as dicts from extension to bytes."""
    try:
        from webdataset.tariterators import group_by_keys
    except ImportError as error:
        raise MissingDependencyError(
            "data.source webdataset needs the package webdataset, which is not installed; "
            'run `pip install "pairstill[webdataset]"`'
        ) from error
    # The shard is opened here, not by webdataset, which would run a name such as "pipe:..." as a command.
    with shard.open("rb") as stream:
        try:
            yield from group_by_keys(_members(shard, stream))
        except DataError:
            raise
        except Exception as error:  # tarfile, the decompressors and webdataset each have their own
            raise DataError(f"{shard} is not a readable shard ({error.args[:1]}); fetch or write it again") from error


def _members(shard: Path, stream: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield the files in a shard as webdataset's own reader does, but none that would fill the memory."""
    with tarfile.open(fileobj=stream, mode="r|*") as tar:
        for member in tar:
            if not member.isreg() or _META.match(member.name):
                continue
            if member.size > MAX_MEMBER_BYTES:
                raise DataError(
                    f"{shard} has a member of {member.size} bytes, {shown(member.name)}, more than {MAX_MEMBER_BYTES}; "
                    "leave it out"
                )
            content = tar.extractfile(member)
            assert content is not None  # it is a regular file
            yield {"fname": member.name, "data": content.read(), "__url__": str(shard)}


def _write_image(folder: Path, content: bytes, extension: str) -> str:
    safe = re.sub(r"[^a-z0-9]", "", extension) or "image"
    name = f"{hashlib.sha256(content).hexdigest()}.{safe}"
    if not (folder / name).exists():
        with writing(folder / name):
            (folder / name).write_bytes(content)
    return name


def _listing(image: str, text: bytes, split: Split, where: str) -> RawPair | str:
    try:
        lines = text.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        return f"{where}: the caption is not text in UTF-8 ({error})"
    # A file of blank lines has one empty caption, so that it is reported as such.
    return parse_listing(
        image=image, captions=[line for line in lines if line.strip()] or [""], split=split, where=where
    )
