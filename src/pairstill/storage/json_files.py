"""JSON and lines of JSON on disk, sealed or not."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pairstill.core.errors import ArtifactError
from pairstill.storage.checksums import check_seal, parse_json, sealed
from pairstill.storage.files import read_text, write_text_atomic

_WRITE_AGAIN = "delete this line, and run the stage again that wrote it"


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON to `path`; values that are not finite are refused; see `write_bytes_atomic`."""
    write_text_atomic(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        ArtifactError: the file is missing or is not JSON.
    """
    try:
        return parse_json(read_text(path))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist; run the stage that makes it first") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not valid JSON ({error}); delete it and run the stage again") from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror})") from error


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON that carries its digest; see `write_json`."""
    write_json(path, sealed(content))


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """Return the content of a JSON file that holds an object with these keys, and is not empty.

    Raises:
        ArtifactError: the file is missing, is not JSON, or holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ArtifactError(f"{path} is damaged: it is no JSON object; delete it and run the stage again")
    if missing := _missing(content, keys):
        raise ArtifactError(f"{path} is damaged: {missing}; delete it and run the stage again")
    return content


def read_list(path: Path, *keys: str) -> list[Any]:
    """Return the content of a JSON file that holds a list, and is not empty.

    Args:
        path: the file.
        keys: with any, the entries are objects with these keys and no others.

    Raises:
        ArtifactError: the file is missing, is not JSON, or holds something else.
    """
    content = read_json(path)
    if not isinstance(content, list) or not content:
        raise ArtifactError(f"{path} is damaged: it is no list, or an empty one; delete it and run the stage again")
    if keys and not all(isinstance(entry, dict) and entry.keys() == set(keys) for entry in content):
        raise ArtifactError(f"{path} is damaged: an entry has not {', '.join(keys)}; delete it and run the stage again")
    return content


def _missing(content: Mapping[str, Any], keys: Iterable[str]) -> str:
    """Return what an object lacks, in words, or an empty word."""
    if not content:
        return "it is empty"
    return ", ".join(f"{key} is missing" for key in keys if key not in content)


def read_sealed(path: Path, *keys: str) -> dict[str, Any]:
    """Return a mapping that `write_sealed` wrote, or one from before there were digests, which has these keys.

    Raises:
        ArtifactError: the file is missing, damaged, or was changed.
    """
    return check_seal(read_object(path, *keys), str(path))


def read_json_lines(path: Path, *keys: str) -> list[dict[str, Any]]:
    """Return the objects of a file with one JSON object in each line, in order; none if there is no such file.

    Args:
        path: the file.
        keys: every object has them.

    Raises:
        ArtifactError: the file is empty, or a line is not JSON, or not what was written; the message names it.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().splitlines()
    if not lines:
        raise ArtifactError(f"{path} is damaged: it is empty; delete it, and run the stage again that wrote it")
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        where = f"{path} is damaged: line {number}"
        try:
            entry = parse_json(line.decode())
        except ValueError as error:
            raise ArtifactError(f"{where} is not JSON ({error}); {_WRITE_AGAIN}") from error
        if not isinstance(entry, dict):
            raise ArtifactError(f"{where} is no JSON object; {_WRITE_AGAIN}")
        if missing := _missing(entry, keys):
            raise ArtifactError(f"{where} is not whole, {missing}; {_WRITE_AGAIN}")
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
