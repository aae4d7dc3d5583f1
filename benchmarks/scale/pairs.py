"""What going through many pairs takes, without encoders: seconds of the processor and memory, the first time and later.

OMP_NUM_THREADS=1 python benchmarks/scale/pairs.py --pairs 100000 1000000 --out FOLDER
"""

import argparse
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pyarrow  # noqa: F401 - so that importing it is no part of the measured memory
from prepare import HELD, look, make

from pairstill.config import DataConfig
from pairstill.data.build import build_manifest

WATCH_SECONDS = 0.1


def go_through(root: Path) -> dict[str, float | str]:
    """Build the manifest; return its fingerprint, seconds, and the memory before and at the most."""
    held, before = dict.fromkeys(HELD.values(), 0), dict.fromkeys(HELD.values(), 0)
    look(os.getpid(), before)
    threading.Thread(target=watch, args=(held,), daemon=True).start()
    config = DataConfig(source="table", root=str(root), annotations="pairs.csv", images="images")
    began = time.process_time()
    manifest = build_manifest(config, root / "cache")
    seconds = round(time.process_time() - began, 1)
    return {"fingerprint": manifest.fingerprint[:12], "of_processor": seconds, "before": before["own_mib"], **held}


def watch(held: dict[str, int]) -> None:
    """Look at the memory of this process until it ends."""
    while True:
        look(os.getpid(), held)
        time.sleep(WATCH_SECONDS)


def run() -> None:
    """Print one line for each run, which is a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[20_000])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--later", action="store_true", help="keep what is known from before")
    options = parser.parse_args()
    for pairs in options.pairs:
        root = options.out / str(pairs)
        make(root, "table", pairs)
        if not options.later:
            shutil.rmtree(root / "cache", ignore_errors=True)
        for name in ("later",) if options.later else ("first", "later"):
            sys.stdout.flush()
            if (child := os.fork()) == 0:
                print(json.dumps({"pairs": pairs, "run": name, **go_through(root)}), flush=True)
                os._exit(0)
            os.waitpid(child, 0)


if __name__ == "__main__":
    run()
