"""What many pairs cost before any work: seconds and memory of `prepare` on tiny photos, the first time and later.

OMP_NUM_THREADS=1 python benchmarks/scale/prepare.py --pairs 20000 --out FOLDER
"""

import argparse
import json
import os
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


def make(root: Path, pairs: int) -> None:
    """Write `pairs` JPEG images of 32 pixels, in folders of a thousand, and a table with a caption each."""
    draw = numpy.random.default_rng(0)
    lines = ["image,caption,split"]
    for number in range(pairs):
        name = f"{number // 1000:04d}/{number:07d}.jpg"
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=numpy.uint8)).save(path, quality=80)
        place, other = (PLACES[at] for at in draw.integers(0, len(PLACES), 2))
        caption = f"Picture {number}: a man's {place}, seen from the {other}!"
        lines.append(f'{name},"{caption}",{SPLITS.get(number % 20, "train")}')
    (root / "pairs.csv").write_text("\n".join(lines) + "\n")


def prepare(root: Path, run: str, *options: str) -> dict[str, float]:
    """Run the command in a process of its own; return its seconds and the most memory that it held."""
    command = [sys.executable, "-m", "pairstill", "prepare", "--data.source", "table", "--data.root", str(root)]
    command += ["--data.annotations", "pairs.csv", "--data.images", "images", "--device", "cpu", "--threads", "1"]
    command += ["--cache_dir", str(root / "cache"), "--run_dir", str(root / run), *options]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"prepare ended with {status}")
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "of_processor": round(usage.ru_utime + usage.ru_stime, 1),
        "mib": round(usage.ru_maxrss / 1024),
    }


def run() -> None:
    """Print one line for each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for pairs in (FEW, options.pairs):
        root = options.out / str(pairs)
        if not (root / "pairs.csv").is_file():
            make(root, pairs)
        for name, more in {"first": (), "later": (), "again": (), "verified": ("--verify", "true")}.items():
            print(json.dumps({"pairs": pairs, "run": name, **prepare(root, name, *more)}), flush=True)


if __name__ == "__main__":
    run()
