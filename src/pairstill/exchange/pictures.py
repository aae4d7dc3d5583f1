"""Rows as a folder of PNG images with a table of captions, and the exact tensors in one file beside them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from pairstill.core.errors import ArtifactError
from pairstill.distilled import DistilledSet
from pairstill.exchange.png import picture_file
from pairstill.exchange.rows import PairRow, rows_of
from pairstill.storage import load_tensors, save_tensors
from pairstill.storage.checksums import parse_json

TABLE = "images/metadata.jsonl"
EXACT = "pairs.safetensors"


def write_pictures(distilled: DistilledSet, folder: Path) -> None:
    """Write `images/phase1/0000.png` and so on, `images/metadata.jsonl`, and all tensors to `pairs.safetensors`.

    Photos that are kept are written as the files that they were.
    """
    lines, exact = [], {}
    for row in rows_of(distilled):
        name = f"phase{row.phase}/{row.index:04d}.{row.ending}"
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture_file(row, distilled.image_encoder))
        lines.append({"file_name": name, **row.facts})
        exact |= {f"{row.key}/{tensor}": value for tensor, value in row.tensors.items()}
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / TABLE).write_text(text, encoding="utf-8")
    save_tensors(folder / EXACT, exact)


def read_pictures(folder: Path) -> Iterator[PairRow]:
    """Yield the rows that `write_pictures` wrote; PNG images of pixels are left aside."""
    exact: dict[str, dict[str, Tensor]] = {}
    for name, value in load_tensors(folder / EXACT).items():
        key, _, tensor = name.partition("/")
        exact.setdefault(key, {})[tensor] = value
    for line in (folder / TABLE).read_text(encoding="utf-8").split("\n")[:-1]:
        about = parse_json(line)
        mixture = tuple(about["mixture"]) if "mixture" in about else ()
        row = PairRow(about["phase"], about["index"], {}, about["caption"], about["source"], mixture=mixture)
        tensors = exact.get(row.key, {})
        photo = b"" if "pixels" in tensors else _picture(folder / "images", about["file_name"])
        yield replace(row, tensors=tensors, photo=photo)


def _picture(folder: Path, name: str) -> bytes:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ArtifactError(f"{folder} names the photo {name!r}, which lies outside of it; export again")
    return path.read_bytes()
