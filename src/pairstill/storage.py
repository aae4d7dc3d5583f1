"""Atomic files: text, JSON and safetensors appear whole or not at all."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairstill.errors import ArtifactError

if TYPE_CHECKING:
    from torch import Tensor


def digest(*parts: str | bytes) -> str:
    """Return the hex SHA-256 of the parts; lengths are hashed too, so ("ab", "c") differs from ("a", "bc")."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "big"))
        state.update(data)
    return state.hexdigest()


def file_digest(path: Path) -> str:
    """Return the hex SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then rename it onto `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that readers see the old file or the whole new one."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    _write_atomic(path, write)


def write_text_atomic(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, atomically."""
    write_bytes_atomic(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON to `path`, atomically; values that are not finite are refused."""
    write_text_atomic(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        ArtifactError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist; run the stage that makes it first") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{path} is not valid JSON ({error}); delete it and run the stage again") from error


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file with one JSON object in each line, in order; none if there is no such file.

    Raises:
        ArtifactError: a line is not JSON.
    """
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); correct or delete it") from error


def write_json_lines(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write objects as lines of JSON, atomically; values that are not finite are refused."""
    write_text_atomic(path, "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in entries))


def append_json_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Add an object to a file of JSON lines; the file is rewritten whole, so that it never holds half a line.

    Args:
        path: the file; made if need be.
        entry: JSON values; floats must be finite.
    """
    write_json_lines(path, [*read_json_lines(path), entry])


def save_tensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors as safetensors, atomically.

    Args:
        path: the file to write.
        tensors: tensors by name, on any device; they are stored contiguous.
        metadata: strings stored in the file's header.
    """
    from safetensors.torch import save_file

    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    _write_atomic(path, lambda temporary: save_file(stored, temporary, metadata=dict(metadata or {})))


def load_tensors(path: Path) -> "dict[str, Tensor]":
    """Return every tensor of a safetensors file.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    with open_tensors(path) as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dict


def open_tensors(path: Path) -> Any:
    """Open a safetensors file for lazy reading; use as a context manager.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ArtifactError(f"{path} does not exist; run the stage that makes it first")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ArtifactError(f"{path} is damaged ({error}); delete it and run the stage again") from error
