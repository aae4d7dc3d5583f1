"""Rows as Parquet columns: float32 lists, with PNG images beside them where they are asked for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairstill.core.errors import ArtifactError
from pairstill.core.extras import need
from pairstill.distilled import DistilledSet
from pairstill.exchange.png import picture_file
from pairstill.exchange.rows import SIMILARITY, TENSORS, PairRow, rows_of

ROWS_PER_GROUP = 64
PLAIN = "pairs.parquet"
HUB = "data/train-00000-of-00001.parquet"


def write_plain(distilled: DistilledSet, folder: Path) -> None:
    """Write `pairs.parquet`, one row for each pair."""
    pyarrow, _ = _pyarrow()
    fields = _fields(distilled)
    _write(distilled, folder / PLAIN, pyarrow.schema([(name, _arrow_type(pyarrow, kind)) for name, kind in fields]))


def write_hub(distilled: DistilledSet, folder: Path) -> None:
    """Write a Parquet file that `datasets.load_dataset` reads, where the column `image` shows the pixels as PNG.

    Raises:
        MissingDependencyError: the package datasets is not installed.
    """
    need("datasets", "the format huggingface")
    from datasets import Features, Image, Sequence, Value

    features = {"image": Image()} | {
        name: Sequence(Value(_ITEMS[kind])) if kind in _ITEMS else Value(kind) for name, kind in _fields(distilled)
    }
    (folder / HUB).parent.mkdir()
    _write(distilled, folder / HUB, Features(features).arrow_schema)


_ITEMS = {"floats": "float32", "strings": "string"}


def read_plain(folder: Path) -> Iterator[PairRow]:
    """Yield the rows that `write_plain` wrote."""
    return _read(folder / PLAIN)


def read_hub(folder: Path) -> Iterator[PairRow]:
    """Yield the rows that `write_hub` wrote; the PNG images are left aside."""
    return _read(folder / HUB)


def _fields(distilled: DistilledSet) -> list[tuple[str, str]]:
    """Return names and kinds of the columns; phases may store different factors, photos and mixtures."""
    kept, mixed = distilled.photos, any(phase.mixtures is not None for phase in distilled.phases)
    factors = {n for phase in distilled.phases for n, f in phase.similarity_factors.items() if f.ndim > 0}
    pixels = any(not phase.photos for phase in distilled.phases)
    own = [name for name, there in zip(TENSORS, (pixels, True, mixed), strict=True) if there]
    floats = [*own, *(f"{SIMILARITY}{name}" for name in sorted(factors))]
    return [
        ("phase", "int32"),
        ("index", "int32"),
        ("caption", "string"),
        ("source", "string"),
        ("inner_lr_image", "float64"),
        ("inner_lr_text", "float64"),
        *((name, "floats") for name in floats),
        *([("photo", "binary")] if kept else []),
        *([("mixture", "strings")] if mixed else []),
    ]


def _arrow_type(pyarrow: Any, kind: str) -> Any:
    match kind:
        case "floats":
            return pyarrow.list_(pyarrow.float32())
        case "strings":
            return pyarrow.list_(pyarrow.string())
        case "binary":
            return pyarrow.binary()
        case "float64":
            return pyarrow.float64()
        case "int32":
            return pyarrow.int32()
        case _:
            return pyarrow.string()


def _write(distilled: DistilledSet, path: Path, schema: Any) -> None:
    pyarrow, parquet = _pyarrow()
    with parquet.ParquetWriter(path, schema) as writer:
        group: list[dict[str, Any]] = []
        for row in rows_of(distilled):
            group.append(_cells(row, distilled, schema.names))
            if len(group) == ROWS_PER_GROUP:
                writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
                group = []
        if group:
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))


def _cells(row: PairRow, distilled: DistilledSet, names: list[str]) -> dict[str, Any]:
    cells = {
        **row.facts_with_rates(distilled),
        **{name: value.flatten().numpy() for name, value in row.tensors.items()},
    }
    if "image" in names:
        cells["image"] = {"bytes": picture_file(row, distilled.image_encoder), "path": None}
    return {**cells, "photo": row.photo or None}


def _read(path: Path) -> Iterator[PairRow]:
    pyarrow, parquet = _pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            names = [n for n in file.schema_arrow.names if n in TENSORS or n.startswith(SIMILARITY)]
            real = [n for n in ("photo", "mixture") if n in file.schema_arrow.names]
            columns = ["phase", "index", "caption", "source", *names, *real]
            for batch in file.iter_batches(batch_size=ROWS_PER_GROUP, columns=columns):
                yield from (_row(batch, at, names) for at in range(batch.num_rows))
    except (pyarrow.ArrowException, OSError) as error:
        raise ArtifactError(f"{path} is not a whole Parquet file ({error}); export again") from error


def _row(batch: Any, at: int, names: list[str]) -> PairRow:
    tensors: dict[str, Tensor] = {}
    for name in names:
        values = batch.column(name)[at].values
        if values is not None:  # this phase stores no such factor
            tensors[name] = torch.from_numpy(values.to_numpy(zero_copy_only=False).copy())
    phase, index, caption, source = (batch.column(name)[at].as_py() for name in ("phase", "index", "caption", "source"))
    photo, mixture = (
        batch.column(name)[at].as_py() if name in batch.schema.names else None for name in ("photo", "mixture")
    )
    return PairRow(phase, index, tensors, caption, source, photo or b"", tuple(mixture or ()))


def _pyarrow() -> tuple[Any, Any]:
    import pyarrow
    from pyarrow import parquet

    return pyarrow, parquet
