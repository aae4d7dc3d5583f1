"""Rows as webdataset shards: of each pair a PNG, a JSON and the exact float32 arrays."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import torch

from pairstill.core.errors import ArtifactError
from pairstill.distilled import DistilledSet
from pairstill.exchange.png import picture_file
from pairstill.exchange.rows import PairRow, rows_of
from pairstill.storage.checksums import parse_json

PAIRS_PER_SHARD = 256
SHARDS = "pairs-*.tar"
_TOO_MUCH = (MemoryError, OverflowError, RecursionError)
"""What headers that ask for too much end in."""


def write_shards(distilled: DistilledSet, folder: Path) -> None:
    """Write `pairs-000000.tar` and so on; of each pair a `.png`, a `.json`, and an `.npy` for each tensor."""
    rows = list(rows_of(distilled))
    for shard, first in enumerate(range(0, len(rows), PAIRS_PER_SHARD)):
        with tarfile.open(folder / f"pairs-{shard:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for row in rows[first : first + PAIRS_PER_SHARD]:
                for ending, content in _members(row, distilled):
                    member = tarfile.TarInfo(f"{row.key}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def _members(row: PairRow, distilled: DistilledSet) -> Iterator[tuple[str, bytes]]:
    yield "json", json.dumps(row.facts_with_rates(distilled), ensure_ascii=False).encode()
    yield row.ending, picture_file(row, distilled.image_encoder)
    for name, value in row.tensors.items():
        stream = io.BytesIO()
        numpy.save(stream, value.numpy(), allow_pickle=False)
        yield f"{name}.npy", stream.getvalue()


def read_shards(folder: Path) -> Iterator[PairRow]:
    """Yield the rows that `write_shards` wrote; nothing is unpacked to disk, and the PNG images are left aside.

    Raises:
        ArtifactError: a shard is damaged.
    """
    for path in sorted(folder.glob(SHARDS)):
        try:
            with tarfile.open(path, "r:") as tar:
                yield from _rows(tar)
        except (tarfile.TarError, EOFError, KeyError, TypeError, ValueError, *_TOO_MUCH) as error:
            raise ArtifactError(f"{path} is not a whole shard ({error}); export again") from error


def _rows(tar: tarfile.TarFile) -> Iterator[PairRow]:
    samples: dict[str, dict[str, bytes]] = {}
    for member in tar:
        key, _, ending = member.name.partition(".")
        content = tar.extractfile(member)
        if content is not None:
            samples.setdefault(key, {})[ending] = content.read()
    for sample in samples.values():
        about: dict[str, Any] = parse_json(sample.pop("json").decode())
        tensors = {
            ending.removesuffix(".npy"): torch.from_numpy(numpy.load(io.BytesIO(content), allow_pickle=False))
            for ending, content in sample.items()
            if ending.endswith(".npy")
        }
        pictures = [content for ending, content in sample.items() if not ending.endswith(".npy")]
        photo = b"" if "pixels" in tensors or not pictures else pictures[0]
        mixture = tuple(about["mixture"]) if "mixture" in about else ()
        yield PairRow(about["phase"], about["index"], tensors, about["caption"], about["source"], photo, mixture)
