"""Tar shards, read so that nothing is lost in silence: what is cut, damaged or goes on after its end is an error."""

import bz2
import gzip
import lzma
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pairstill.core.errors import DataError, shown

_MAX_HEADER_BYTES = 2**20
_META = re.compile(r"__[^/]*__($|/)")
_COMPRESSED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_LONG_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


@dataclass(frozen=True)
class Sample:
    """Members of a shard that follow each other and share a name up to its first dot.

    Attributes:
        key: the shared name.
        contents: the members that were asked for, by extension in lower case.
        others: the extensions of all other members.
    """

    key: str
    contents: dict[str, bytes] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def read_samples(shard: Path, wanted: Mapping[str, int]) -> Iterator[Sample | str]:
    """Yield the samples of a shard in order, and what is wrong with members that cannot belong to one.

    Folders, files whose names begin with a dot, and what begins with `__name__` belong to no sample and are left out.

    Args:
        shard: the tar file, compressed with gzip, bzip2 or xz or not at all.
        wanted: the extensions whose content is read, with the most bytes that it may have: a compressed shard may
            hold far more than its size.

    Raises:
        DataError: the shard is damaged, cut short, goes on after its end, or has a member that is too large.
    """
    try:
        with shard.open("rb") as stream:
            start = stream.read(6)
            stream.seek(0)
            opened = next((way for magic, way in _COMPRESSED.items() if start.startswith(magic)), None)
            with opened(stream) if opened is not None else stream as content:
                yield from _samples(content, wanted)
    except DataError as error:
        raise DataError(f"{shard} {error}") from error
    except Exception as error:  # tarfile and the decompressors each have their own
        raise DataError(f"{shard} is not a readable shard ({error}); fetch or write it again") from error


class _Header(tarfile.TarInfo):
    """A header whose damage is an error: `tarfile` takes a damaged one, and none at all, for the end of the shard."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the end
            what = "a header is damaged" if len(buf) == tarfile.BLOCKSIZE else "it is cut short"
            raise tarfile.ReadError(what) from error
        if header.size < 0 or (header.type in _LONG_HEADERS and header.size > _MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header of type {header.type!r} announces {header.size} bytes")
        return header


def _samples(stream: BinaryIO, wanted: Mapping[str, int]) -> Iterator[Sample | str]:
    current: Sample | None = None
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as tar:
        for member in tar:
            key, extension = _split_name(member.name)
            if member.isdir() or _META.match(member.name) or key.rpartition("/")[2] == "":
                continue
            if not member.isreg():
                yield f"member {shown(member.name)} is a link or a device; pack the file itself"
            elif not extension:
                yield f"member {shown(member.name)} has no extension, so that it belongs to no sample"
            else:
                if current is None or current.key != key:
                    if current is not None:
                        yield current
                    current = Sample(key)
                if extension in current.contents or extension in current.others:
                    yield f"member {shown(member.name)} stands twice; the first is taken"
                elif extension in wanted:
                    current.contents[extension] = _content(tar, member, wanted[extension])
                else:
                    current.others.append(extension)
        _require_end(tar.fileobj)
    if current is not None:
        yield current


def _split_name(name: str) -> tuple[str, str]:
    """Return the name of a sample and the extension, in lower case, of a member's name."""
    folder, slash, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return folder + slash + stem, extension.lower()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, limit: int) -> bytes:
    if not 0 <= member.size <= limit:
        raise DataError(f"has a member of {member.size} bytes, {shown(member.name)}, more than {limit}; leave it out")
    content = tar.extractfile(member)
    assert content is not None  # it is a regular file
    return content.read()


def _require_end(stream: Any) -> None:
    """Refuse a shard without the second of the two blocks of zeros that end it, or with anything but zeros after it."""
    block, first = stream.read(tarfile.BLOCKSIZE), True
    while block or first:
        if first and len(block) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it is cut short: the two blocks that end it are missing")
        if any(block):
            raise tarfile.ReadError("it goes on after its end; shards cannot be joined as files")
        block, first = stream.read(tarfile.BLOCKSIZE), False
