"""What many pairs cost before any work: seconds and memory of `prepare` on tiny photos, the first time and later.

OMP_NUM_THREADS=1 python benchmarks/scale/prepare.py --pairs 100000 1000000 --out FOLDER
OMP_NUM_THREADS=1 python benchmarks/scale/prepare.py --source webdataset --pairs 100000 --out FOLDER
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy
from PIL import Image

PLACES = ("beach", "street", "garden", "kitchen", "field", "river", "hall", "roof")
SPLITS = {0: "val", 1: "test"}
"""One of twenty images goes to each of these; all others are for training."""
FEW = 200
"""As many pairs as nothing is worth telling of: what is left is the start of the program."""
EACH = 1000
"""Images in a folder, and pairs in a round of shards."""
LOOK_SECONDS = 0.1
HELD = {"VmHWM": "mib", "RssAnon": "own_mib"}
"""The most memory that a process held, and what of it was its own: the system takes pages of files back."""
SOURCES = {
    "table": ("--data.annotations", "pairs.csv", "--data.images", "images"),
    "webdataset": tuple(
        word for split in ("train", "val", "test") for word in (f"--data.splits.{split}", f"shards/{split}-*.tar")
    )
    + ("--data.columns.image", "jpg", "--data.columns.caption", "txt"),
}
"""The settings of each source."""


@dataclass(frozen=True)
class Pair:
    """A tiny photo, as a JPEG file has it, with a caption."""

    number: int
    photo: bytes
    caption: str

    @property
    def split(self) -> str:
        """The split that it is for."""
        return SPLITS.get(self.number % 20, "train")


def some_pairs(start: int, count: int) -> Iterator[Pair]:
    """Yield pairs, no two alike, of noise of 32 pixels with captions of which none is another's."""
    draw = numpy.random.default_rng(start)
    pixels = draw.integers(0, 256, (count, 32, 32, 3), dtype=numpy.uint8)
    places = draw.integers(0, len(PLACES), (count, 2))
    for number, (picture, (place, other)) in enumerate(zip(pixels, places, strict=True), start):
        photo = io.BytesIO()
        Image.fromarray(picture).save(photo, "JPEG", quality=80)
        caption = f"Picture {number}: a man's {PLACES[place]}, seen from the {PLACES[other]}!"
        yield Pair(number, photo.getvalue(), caption)


def make_table(root: Path, pairs: int) -> None:
    """Write a file for each photo, a thousand to a folder, and a table of captions."""
    with (root / "pairs.csv").open("w") as table:
        table.write("image,caption,split\n")
        for start in range(0, pairs, EACH):
            folder = root / "images" / f"{start // EACH:04d}"
            folder.mkdir(parents=True, exist_ok=True)
            for pair in some_pairs(start, min(EACH, pairs - start)):
                (folder / f"{pair.number:07d}.jpg").write_bytes(pair.photo)
                table.write(f'{folder.name}/{pair.number:07d}.jpg,"{pair.caption}",{pair.split}\n')


def make_shards(root: Path, pairs: int) -> None:
    """Write tar shards, of each split one for every thousand pairs."""
    (root / "shards").mkdir(exist_ok=True)
    for start in range(0, pairs, EACH):
        with ExitStack() as opened:
            names = {
                split: root / "shards" / f"{split}-{start // EACH:06d}.tar" for split in ("train", *SPLITS.values())
            }
            tars = {split: opened.enter_context(tarfile.open(path, "w")) for split, path in names.items()}
            for pair in some_pairs(start, min(EACH, pairs - start)):
                for suffix, content in (("jpg", pair.photo), ("txt", pair.caption.encode())):
                    member = tarfile.TarInfo(f"{pair.number:09d}.{suffix}")
                    member.size = len(content)
                    tars[pair.split].addfile(member, io.BytesIO(content))


def make(root: Path, source: str, pairs: int) -> None:
    """Write the pairs, unless they are there."""
    done = root / f"made.{source}"
    if not done.is_file():
        root.mkdir(parents=True, exist_ok=True)
        {"table": make_table, "webdataset": make_shards}[source](root, pairs)
        done.touch()


def prepare(root: Path, run: str, source: str, *options: str) -> dict[str, float]:
    """Run the command in a process of its own; return its seconds and the most memory that it held."""
    command = [sys.executable, "-m", "pairstill", "prepare", "--data.source", source, "--data.root", str(root)]
    command += [*SOURCES[source], "--image.size", "16", "--device", "cpu", "--threads", "1"]
    command += ["--cache_dir", str(root / "cache"), "--run_dir", str(root / run), *options]
    began, held = time.perf_counter(), dict.fromkeys(HELD.values(), 0)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        look(process.pid, held)
        time.sleep(LOOK_SECONDS)
    _, status, usage = ended
    if status:
        raise SystemExit(f"prepare ended with {status}")
    seconds = {"seconds": time.perf_counter() - began, "of_processor": usage.ru_utime + usage.ru_stime}
    return {**{name: round(value, 1) for name, value in seconds.items()}, **held}


def look(process: int, held: dict[str, int]) -> None:
    """Keep the most memory that a process holds."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if (kind := HELD.get(line.partition(":")[0])) is not None:
            held[kind] = max(held[kind], int(line.split()[1]) // 1024)


def run() -> None:
    """Print one line for each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[20_000])
    parser.add_argument("--source", choices=SOURCES, default="table")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for pairs in (FEW, *options.pairs):
        root = options.out / str(pairs)
        make(root, options.source, pairs)
        shutil.rmtree(root / "cache", ignore_errors=True)
        for name, more in {"first": (), "later": (), "verified": ("--verify", "true")}.items():
            shutil.rmtree(root / name, ignore_errors=True)
            facts = prepare(root, name, options.source, *more)
            print(json.dumps({"source": options.source, "pairs": pairs, "run": name, **facts}), flush=True)


if __name__ == "__main__":
    run()
