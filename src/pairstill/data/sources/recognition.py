"""Which source a file or a folder looks like, for people who named another one."""

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from pairstill.config import DataConfig
from pairstill.core.errors import DataError

_LOOKED_AT = 1000
_LARGEST = 2**26
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".jfif", ".ppm")
"""Names of picture files end so."""
TEXTS = (".txt", ".caption")
"""Names of files with captions end so."""


def looks_like(content: Any) -> tuple[str, str] | None:
    """Return the source that reads a JSON value, and what it is in words; None if none does.

    Example:
        >>> looks_like([{"image": "a.jpg", "caption": "a dog"}])
        ('blip', 'a list of images and captions')
    """
    if isinstance(content, dict):
        images, annotations = _objects(content.get("images")), _objects(content.get("annotations"))
        if any("sentences" in entry for entry in images):
            return "karpathy", "a Karpathy split file"
        if any({"image_id", "caption"} <= entry.keys() for entry in annotations) and "images" in content:
            return "coco", "COCO captions"
    elif any("conversations" in entry for entry in _objects(content)):
        return "llava_cc3m", "LLaVA's conversations"
    elif any({"image", "caption"} <= entry.keys() for entry in _objects(content)):
        return "blip", "a list of images and captions"
    return None


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value[:_LOOKED_AT] if isinstance(one, dict)] if isinstance(value, list) else []


def refuse_other(config: DataConfig, content: Any, name: str, *also: str) -> None:
    """Refuse JSON that another source reads.

    Args:
        config: the data settings.
        content: the JSON value.
        name: the file's.
        also: other sources whose files this one reads as well.

    Raises:
        DataError: it names the source.
    """
    found = looks_like(content)
    if found is not None and found[0] not in (config.source, *also):
        raise DataError(f"{name} is not what data.source {config.source} reads{_sentence(*found)}")


def hint(path: Path, source: str) -> str:
    """Return what a file or a folder looks like and how to read it, as the end of a sentence; nothing if not known.

    Args:
        path: the file or folder.
        source: the source that was named.
    """
    try:
        found = _in_folder(path) if path.is_dir() else _by_name(path)
    except (OSError, ValueError, RecursionError):
        return ""
    return "" if found is None or found[0].partition(" ")[0] == source else _sentence(*found)


def _sentence(source: str, what: str) -> str:
    return f"; this looks like {what}: --data.source {source}"


def _by_name(path: Path) -> tuple[str, str] | None:
    name = path.name.lower()
    if name.endswith(_TABLES):
        return "table", "a table"
    if name.endswith((".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2")):
        return "webdataset", "a tar shard"
    if name.endswith(".arrow"):
        return "huggingface", "a Hugging Face dataset"
    if not name.endswith(".json") or not path.is_file() or path.stat().st_size > _LARGEST:
        return None
    text = path.read_text(encoding="utf-8-sig")
    try:
        return looks_like(json.loads(text))
    except ValueError:
        first = text.partition("\n")[0]
        lines = isinstance(json.loads(first), dict)
        return ("table", "JSON lines, which a table is with the suffix .jsonl") if lines else None


def _in_folder(folder: Path) -> tuple[str, str] | None:
    files = sorted(_some(folder.iterdir()))
    names = [path.name.lower() for path in files]
    below = [path.name.lower() for path in _some(folder.glob("*/*"))]
    if "dataset_dict.json" in names or any(name.endswith((".arrow", ".parquet")) for name in (*names, *below)):
        return "huggingface", "a Hugging Face dataset"
    if any(name.endswith((".tar", ".tgz", ".tar.gz")) for name in names):
        return "webdataset", "tar shards"
    pictures = {name.rpartition(".")[0] for name in (*names, *below) if name.endswith(PICTURES)}
    texts = {name.rpartition(".")[0] for name in (*names, *below) if name.endswith(TEXTS)}
    if pictures & texts:
        return "folder", "images with a text file beside each"
    listings = ((path, _by_name(path)) for path in files if path.is_file())
    return next(
        ((f"{of[0]} --data.annotations {path.name}", f"{of[1]}, {path.name}") for path, of in listings if of), None
    )


def _some(paths: Iterable[Path]) -> Iterable[Path]:
    return islice(paths, _LOOKED_AT)
