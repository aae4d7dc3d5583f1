"""Atomic files: text, JSON and safetensors appear whole or not at all, and damage is found when they are read.

JSON can be sealed: a mapping carries the digest of its own content. A safetensors file carries a sealed digest of each
tensor, which is checked whenever that tensor is read, so that lazy readers check what they use and no more. Files from
before there were digests are read without the check.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pairstill.checksums import SEAL, check_seal, parse_json, sealed
from pairstill.errors import ArtifactError, StorageError
from pairstill.locks import exclusive, is_abandoned

if TYPE_CHECKING:
    from torch import Tensor

_WRITE_AGAIN = "delete this line, and run the stage again that wrote it"
DIGESTS = "pairstill"  # the one key of a file's metadata: safetensors keeps several in no fixed order


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


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Make a folder beside `path`, which is removed afterwards; what killed processes left behind for it goes first.

    Raises:
        StorageError: the folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
    except OSError as error:
        raise StorageError.cannot_write(path, error) from error
    try:
        with exclusive(folder):
            for other in path.parent.glob(f".{escape(path.name)}.*.tmp"):
                with suppress(OSError):
                    other.rmdir()  # when it is empty; a process that is about to lock it makes it again
                if is_abandoned(other):
                    shutil.rmtree(other, ignore_errors=True)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a temporary file beside `path`, flush it to disk, then rename it onto `path`."""
    with temporary_folder(path) as folder, writing(path):
        temporary = folder / path.name
        write(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says of a file that the block cannot write into an error that names it.

    Raises:
        StorageError: the block raised an `OSError`.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError.cannot_write(path, error) from error


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that readers see the old file or the whole new one.

    Raises:
        StorageError: it cannot be written; the old file is as it was.
    """

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    _write_atomic(path, write)


def write_text_atomic(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`; see `write_bytes_atomic`."""
    write_bytes_atomic(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON to `path`; values that are not finite are refused; see `write_bytes_atomic`."""
    write_text_atomic(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        ArtifactError: the file is missing or is not JSON.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist; run the stage that makes it first") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not valid JSON ({error}); delete it and run the stage again") from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror})") from error


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON that carries its digest; see `write_json`."""
    write_json(path, sealed(content))


def read_sealed(path: Path) -> dict[str, Any]:
    """Return a mapping that `write_sealed` wrote, or one from before there were digests.

    Raises:
        ArtifactError: the file is missing, damaged, or was changed.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} is damaged: it is no JSON object; delete it and run the stage again")
    return check_seal(content, str(path))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file with one JSON object in each line, in order; none if there is no such file.

    Raises:
        ArtifactError: a line is not JSON, or not what was written; the message names it.
    """
    if not path.is_file():
        return []
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        where = f"{path} is damaged: line {number}"
        try:
            entry = parse_json(line.decode())
        except ValueError as error:
            raise ArtifactError(f"{where} is not JSON ({error}); {_WRITE_AGAIN}") from error
        if not isinstance(entry, dict):
            raise ArtifactError(f"{where} is no JSON object; {_WRITE_AGAIN}")
        try:
            entries.append(check_seal(entry, f"line {number}"))
        except ArtifactError as error:
            raise ArtifactError(f"{where} does not match its checksum; {_WRITE_AGAIN}") from error
    return entries


def write_json_lines(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write objects as sealed lines of JSON, atomically; values that are not finite are refused."""
    write_text_atomic(path, "".join(json.dumps(sealed(entry), allow_nan=False) + "\n" for entry in entries))


def append_json_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Add an object to a file of JSON lines; the file is rewritten whole, so that it never holds half a line.

    Args:
        path: the file; made if need be.
        entry: JSON values; floats must be finite.
    """
    write_json_lines(path, [*read_json_lines(path), entry])


def save_tensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors as safetensors, with their digests; the same tensors and strings give the same bytes.

    Args:
        path: the file to write.
        tensors: tensors by name, on any device; they are stored contiguous.
        metadata: strings stored in the file's header.

    Raises:
        StorageError: the file cannot be written; the old one is as it was.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    digests = {name: _tensor_digest(stored[name]) for name in sorted(stored)}
    header = json.dumps(sealed({"metadata": dict(metadata or {}), "tensors": digests}), sort_keys=True)
    try:
        _write_atomic(path, lambda temporary: save_file(stored, temporary, metadata={DIGESTS: header}))
    except SafetensorError as error:
        raise StorageError.cannot_write(path, error) from error


def load_tensors(path: Path) -> "dict[str, Tensor]":
    """Return every tensor of a safetensors file.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    with open_tensors(path) as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dict


def open_tensors(path: Path) -> "StoredTensors":
    """Open a safetensors file for lazy reading; use as a context manager.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ArtifactError(f"{path} does not exist; run the stage that makes it first")
    try:
        return StoredTensors(path, safe_open(path, framework="pt"))
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error


class StoredTensors:
    """The tensors of an open safetensors file, each checked when it is read."""

    def __init__(self, path: Path, stored: Any) -> None:
        """Read the header of a file that `safe_open` opened.

        Raises:
            ArtifactError: the header is damaged.
        """
        self._path, self._stored = path, stored
        self._metadata: dict[str, str] = stored.metadata() or {}
        self._digests: dict[str, str] | None = None
        if DIGESTS in self._metadata:
            self._metadata, self._digests = self._sealed_header(self._metadata[DIGESTS])
        elif self._metadata and "kind" not in self._metadata:
            raise _damaged(path, f"its header holds {', '.join(self._metadata)}")  # not one from before the digests

    def _sealed_header(self, text: str) -> tuple[dict[str, str], dict[str, str]]:
        """Return the metadata and the tensors' digests, after checking that both are what was written."""
        try:
            header = parse_json(text)
            if header.keys() != {"metadata", "tensors", SEAL} or sealed(header) != header:
                raise ValueError("the checksum of its header does not match")
        except (ValueError, TypeError, AttributeError) as error:
            raise _damaged(self._path, str(error)) from error
        if set(header["tensors"]) != set(self.keys()):
            raise _damaged(self._path, "it holds other tensors than its header lists")
        return header["metadata"], header["tensors"]

    def __enter__(self) -> "StoredTensors":
        self._stored.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stored.__exit__(kind, error, trace)

    def metadata(self) -> dict[str, str]:
        """Return the strings that `save_tensors` was given."""
        return self._metadata

    def keys(self) -> list[str]:
        """Return the names of the tensors."""
        return list(self._stored.keys())

    def get_tensor(self, name: str) -> "Tensor":
        """Return a tensor, memory-mapped.

        Raises:
            ArtifactError: there is no such tensor, or it is not what was written.
        """
        from safetensors import SafetensorError

        try:
            value = self._stored.get_tensor(name)
        except (SafetensorError, OSError, ValueError) as error:
            raise _damaged(self._path, str(error)) from error
        if self._digests is not None and _tensor_digest(value) != self._digests[name]:
            raise _damaged(self._path, f"the checksum of {name} does not match")
        return value


def _tensor_digest(value: "Tensor") -> str:
    """Return the hex SHA-256 of a CPU tensor's type, shape and contiguous bytes."""
    import torch

    state = hashlib.sha256(f"{value.dtype} {tuple(value.shape)}".encode())
    if value.numel():
        state.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _damaged(path: Path, why: str) -> ArtifactError:
    return ArtifactError(f"{path} is damaged ({why}); delete it and run the stage again")
