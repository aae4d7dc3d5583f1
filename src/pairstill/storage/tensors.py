"""Named tensors on disk, as safetensors with the digest of each."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pairstill.core.errors import ArtifactError, StorageError
from pairstill.storage.checksums import SEAL, parse_json, sealed
from pairstill.storage.files import write_atomic

if TYPE_CHECKING:
    from torch import Tensor

DIGESTS = "pairstill"  # the one key of a file's metadata: safetensors keeps several in no fixed order


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
        write_atomic(path, lambda temporary: save_file(stored, temporary, metadata={DIGESTS: header}))
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
