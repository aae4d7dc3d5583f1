"""Tar shards in the WebDataset layout: the members of a sample share a name and differ in extension."""

import hashlib
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pairstill.config import DataConfig
from pairstill.core.errors import DataError, printable
from pairstill.core.schema import Split
from pairstill.data.captions import caption_lines
from pairstill.data.inside import MAX_FILE_BYTES, find_inside
from pairstill.data.sources.extraction import extract_once, write_once
from pairstill.data.sources.patterns import expand_braces
from pairstill.data.sources.raw import RawPair, RawPairs, folder_of, parse_listing
from pairstill.data.sources.recognition import hint
from pairstill.data.sources.shards import read_samples
from pairstill.storage import digest

# Raise it when extracted folders change, so that old ones are not taken for new ones.
_VERSION = 3
MAX_MEMBER_BYTES = MAX_FILE_BYTES
MAX_TEXT_BYTES = 2**24


def read(config: DataConfig, cache_dir: Path) -> RawPairs:
    """Read the shards of three splits, and copy their images byte for byte into the cache, once.

    A text member holds one caption per line. Files are named by their content and their extension alone, so no
    member name can lead out of the cache, and samples that repeat an image become one image.

    Args:
        config: `splits` are globs of shards relative to `root`, perhaps with braces (`train-{000..003}.tar`), of
            which every name must be there; `columns.image` are the extensions of images,
            separated by semicolons ("jpg;png"), `columns.caption` the extension of the text ("txt").
        cache_dir: receives `images/webdataset-<key>/`.

    Raises:
        DataError: a glob matches no shard, or a shard is damaged, cut short, or lies elsewhere.
    """
    shards: dict[Split, list[Path]] = {
        split: _find_shards(config, split, pattern) for split, pattern in config.splits.named.items()
    }
    facts: list[str | bytes] = [str(_VERSION), config.columns.image, config.columns.caption]
    for split, paths in shards.items():
        for path in paths:
            # Size and time instead of content: reading terabytes again only to name a folder would be absurd.
            status = path.stat()
            facts += [split, os.fsencode(path), str(status.st_size), str(status.st_mtime_ns)]
    key = f"webdataset-{digest(*facts)[:16]}"
    parts = [partial(_write, split=split, shard=path, config=config) for split in shards for path in shards[split]]
    return extract_once(cache_dir, key, parts)


def _find_shards(config: DataConfig, split: Split, pattern: str) -> list[Path]:
    """Return the shards of a split in order; every name that braces stand for must be there."""
    root = folder_of(config)
    found: dict[Path, None] = {}
    try:
        for name in expand_braces(pattern):
            shards = [path for path in sorted(root.glob(name)) if not path.is_dir()]
            if not shards:
                missing = repr(pattern) if name == pattern else f"{name!r}, which is one of {pattern!r}"
                instead = hint(root, config.source)
                raise DataError(f"no shard in {root} matches {missing}{instead}; set data.root and data.splits.{split}")
            found |= dict.fromkeys(shards)
    except (NotImplementedError, ValueError) as error:
        raise DataError(f"data.splits.{split} is {pattern!r} ({error}); give a glob relative to data.root") from error
    for path in found:
        try:
            find_inside(root, str(path))
        except DataError as error:
            raise DataError(f"shard {path} {error}; set data.root to the folder that holds the shards") from error
    return list(found)


def _write(folder: Path, split: Split, shard: Path, config: DataConfig) -> Iterator[RawPair | str]:
    extensions = [part.strip().lower().lstrip(".") for part in config.columns.image.split(";")]
    text = config.columns.caption.lower().lstrip(".")
    wanted = {**dict.fromkeys(extensions, MAX_MEMBER_BYTES), text: MAX_TEXT_BYTES}
    for sample in read_samples(shard, wanted):
        if isinstance(sample, str):
            yield f"{printable(shard.name)}: {sample}"
            continue
        where = f"{printable(shard.name)}: {printable(sample.key)}"
        extension = next((e for e in extensions if e in sample.contents), None)
        if extension is None or text not in sample.contents:
            members = ", ".join(map(printable, sorted([*sample.contents, *sample.others])))
            yield (
                f"{where}: members {members}; it needs an image ({' or '.join(extensions)}) and {text}. "
                "Set data.columns.image and data.columns.caption"
            )
            continue
        image = _write_image(folder, sample.contents[extension], extension)
        yield _listing(image, sample.contents[text], split, where)


def _write_image(folder: Path, content: bytes, extension: str) -> str:
    safe = re.sub(r"[^a-z0-9]", "", extension) or "image"
    name = f"{hashlib.sha256(content).hexdigest()}.{safe}"
    write_once(folder / name, lambda path: path.write_bytes(content))
    return name


def _listing(image: str, text: bytes, split: Split, where: str) -> RawPair | str:
    try:
        lines = caption_lines(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return f"{where}: the caption is not text in UTF-8 ({error})"
    # A file of blank lines has one empty caption, so that it is reported as such.
    return parse_listing(image=image, captions=lines or [""], split=split, where=where)
