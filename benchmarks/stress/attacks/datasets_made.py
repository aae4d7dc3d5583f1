"""Small datasets of six pictures that attacks then spoil: four to train on, one to validate, one to test."""

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
from PIL import Image
from pyarrow import parquet

from attacks.processes import settings_of

SPLITS = ("train", "train", "train", "train", "val", "test")
PAIRS = len(SPLITS)
CAPTIONS = [f"a caption of picture {number}" for number in range(PAIRS)]
PHASES = "--distill.phases=[{num_pairs: 2, outer_steps: 2, range_end: 1, endpoint: 2}]"


def picture(number: int) -> Image.Image:
    """Return one of the pictures."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (24, 24, 3), np.uint8))


def encoded(number: int, form: str = "PNG") -> bytes:
    """Return one of the pictures as a file's bytes."""
    stream = io.BytesIO()
    picture(number).save(stream, form)
    return stream.getvalue()


def write_pictures(user: Path) -> None:
    """Write the pictures as `images/p0.png` and so on, and a link out of the folder."""
    (user / "images").mkdir()
    for number in range(PAIRS):
        (user / "images" / f"p{number}.png").write_bytes(encoded(number))
    (user / "images" / "link").symlink_to(user.parent / "outside")


def prepare(folder: Path, source: str, *options: str) -> list[str]:
    """Return the command line that checks and encodes the pairs of a source."""
    return [
        "prepare",
        *settings_of(folder / "work"),
        PHASES,
        f"--data.source={source}",
        f"--data.root={folder}/user",
        *options,
    ]


def listing(source: str) -> list[dict[str, Any]]:
    """Return the entries of a listing in the form of a source."""
    rows = list(zip((f"p{number}.png" for number in range(PAIRS)), CAPTIONS, SPLITS, strict=True))
    match source:
        case "karpathy":
            return [{"filename": i, "filepath": "", "split": s, "sentences": [{"raw": c}]} for i, c, s in rows]
        case "llava_cc3m" | "blip":
            return [{"image": i, "caption": c} for i, c, _ in rows]
        case "coco":
            return [{"id": n, "file_name": i, "image_id": n, "caption": c} for n, (i, c, _) in enumerate(rows)]
        case "chat":
            says = [{"from": "human", "value": "?"}]
            return [{"image": i, "conversations": [*says, {"from": "gpt", "value": c}]} for i, c, _ in rows]
        case _:
            return [{"image": i, "caption": c, "split": s} for i, c, s in rows]


def write_listing(user: Path, source: str, entries: Any) -> str:
    """Write a listing and return its name."""
    match source:
        case "karpathy":
            (user / "a.json").write_text(json.dumps({"images": entries}))
        case "coco":
            images = [{key: entry[key] for key in ("id", "file_name")} for entry in entries]
            annotations = [{key: entry[key] for key in ("image_id", "caption")} for entry in entries]
            (user / "a.json").write_text(json.dumps({"images": images, "annotations": annotations}))
        case "llava_cc3m" | "chat" | "blip":
            (user / "a.json").write_text(json.dumps(entries))
        case "jsonl":
            (user / "a.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
            return "a.jsonl"
        case "csv":
            with (user / "a.csv").open("w", newline="", errors="surrogatepass") as stream:
                writer = csv.DictWriter(stream, ["image", "caption", "split"])
                writer.writeheader()
                writer.writerows(entries)
            return "a.csv"
        case "parquet":
            parquet.write_table(pyarrow.Table.from_pylist(entries), user / "a.parquet")
            return "a.parquet"
    return "a.json"


def tarred(members: list[tuple[str | tarfile.TarInfo, bytes]], form: str = "") -> bytes:
    """Return a tar archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{form}") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def samples(numbers: list[int]) -> list[tuple[str | tarfile.TarInfo, bytes]]:
    """Return the members of a shard that holds these pictures."""
    found: list[tuple[str | tarfile.TarInfo, bytes]] = []
    for number in numbers:
        found += [(f"s{number}.png", encoded(number)), (f"s{number}.txt", CAPTIONS[number].encode())]
    return found


def write_shards(user: Path, train: bytes | None = None, form: str = "") -> list[str]:
    """Write shards for the three splits, and return their options."""
    end = f"tar.{form}" if form else "tar"
    (user / f"train.{end}").write_bytes(tarred(samples([0, 1, 2, 3]), form) if train is None else train)
    (user / "val.tar").write_bytes(tarred(samples([4])))
    (user / "test.tar").write_bytes(tarred(samples([5])))
    return shard_options(f"train.{end}")


def shard_options(train: str) -> list[str]:
    """Return the options of a dataset in shards."""
    splits = [f"--data.splits.train={train}", "--data.splits.val=val.tar", "--data.splits.test=test.tar"]
    return [*splits, "--data.columns.image=png", "--data.columns.caption=txt"]


HUB = ["--data.splits.train=train", "--data.splits.val=val", "--data.splits.test=test"]


def write_saved(user: Path, cells: dict[int, dict[str, Any] | None] | None = None) -> None:
    """Write the dataset as `save_to_disk` does; `cells` replace pictures."""
    # not as pictures, for then it would open what cells name; the name of their kind is put in afterwards
    cell = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({"image": cell, "caption": datasets.Value("string")})
    tables = {}
    for split in ("train", "val", "test"):
        rows = [
            {"image": (cells or {}).get(n, {"bytes": encoded(n), "path": None}), "caption": CAPTIONS[n]}
            for n in range(PAIRS)
            if SPLITS[n] == split
        ]
        tables[split] = datasets.Dataset.from_list(rows, features=features)
    datasets.DatasetDict(tables).save_to_disk(str(user))
    for path in user.glob("*/dataset_info.json"):
        said = json.loads(path.read_text())
        said["features"]["image"] = {"_type": "Image"}
        path.write_text(json.dumps(said))
