"""What many pairs cost before any work: seconds and memory of `prepare` on tiny photos, the first time and later.

OMP_NUM_THREADS=1 python benchmarks/scale/prepare.py --pairs 100000 1000000 --out FOLDER
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy
from PIL import Image

PLACES = ("beach", "street", "garden", "kitchen", "field", "river", "hall", "roof")
SPLITS = {0: "val", 1: "test"}
"""One of twenty images goes to each of these; all others are for training."""
FEW = 200
"""As many pairs as nothing is worth telling of: what is left is the start of the program."""
EACH = 1000
"""Images in a folder."""
LOOK_SECONDS = 0.1
KINDS = {"VmHWM": "mib", "RssAnon": "own_mib"}
"""The most memory that a process held, and what of it was its own: the system takes pages of files back."""


def make(root: Path, pairs: int) -> None:
    """Write `pairs` JPEG images of 32 pixels, no two alike, a thousand to a folder, and a table of captions."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "pairs.csv.part").open("w") as table:
        table.write("image,caption,split\n")
        for start in range(0, pairs, EACH):
            draw = numpy.random.default_rng(start)
            folder = root / "images" / f"{start // EACH:04d}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = draw.integers(0, 256, (min(EACH, pairs - start), 32, 32, 3), dtype=numpy.uint8)
            places = draw.integers(0, len(PLACES), (len(pixels), 2))
            for number, (picture, (place, other)) in enumerate(zip(pixels, places, strict=True), start):
                Image.fromarray(picture).save(folder / f"{number:07d}.jpg", quality=80)
                caption = f"Picture {number}: a man's {PLACES[place]}, seen from the {PLACES[other]}!"
                table.write(f'{folder.name}/{number:07d}.jpg,"{caption}",{SPLITS.get(number % 20, "train")}\n')
    (root / "pairs.csv.part").rename(root / "pairs.csv")


def prepare(root: Path, run: str, *options: str) -> dict[str, float]:
    """Run the command in a process of its own; return its seconds and the most memory that it held."""
    command = [sys.executable, "-m", "pairstill", "prepare", "--data.source", "table", "--data.root", str(root)]
    command += ["--data.annotations", "pairs.csv", "--data.images", "images", "--device", "cpu", "--threads", "1"]
    command += ["--cache_dir", str(root / "cache"), "--run_dir", str(root / run), *options]
    began, held = time.perf_counter(), dict.fromkeys(KINDS.values(), 0)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        look(process.pid, held)
        time.sleep(LOOK_SECONDS)
    _, status, usage = ended
    if status:
        raise SystemExit(f"prepare ended with {status}")
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "of_processor": round(usage.ru_utime + usage.ru_stime, 1),
        **held,
    }


def look(process: int, held: dict[str, int]) -> None:
    """Keep the most memory that a process holds."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if (kind := KINDS.get(line.partition(":")[0])) is not None:
            held[kind] = max(held[kind], int(line.split()[1]) // 1024)


def run() -> None:
    """Print one line for each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[20_000])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only_make", action="store_true", help="write the pairs, and measure nothing")
    options = parser.parse_args()
    for pairs in (FEW, *options.pairs):
        root = options.out / str(pairs)
        if not (root / "pairs.csv").is_file():
            make(root, pairs)
        if options.only_make:
            continue
        shutil.rmtree(root / "cache", ignore_errors=True)
        for name, more in {"first": (), "later": (), "verified": ("--verify", "true")}.items():
            shutil.rmtree(root / name, ignore_errors=True)
            facts = prepare(root, name, "--image.size", "16", *more)
            print(json.dumps({"pairs": pairs, "run": name, **facts}), flush=True)


if __name__ == "__main__":
    run()
