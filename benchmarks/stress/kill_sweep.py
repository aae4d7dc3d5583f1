"""Kill a sweep, and some of its rows, at random moments with SIGKILL; the table must be that of an undisturbed one.

    OMP_NUM_THREADS=1 python benchmarks/stress/kill_sweep.py --kills 14 --out /tmp/kill_sweep

Rows that a killed sweep leaves at work go on; in half of the cases one of them is killed too. The last line is a JSON
object; the exit status is 1 if the tables differ in a byte, or a sweep failed.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = Path(__file__).parents[2] / "tests" / "recipes" / "tiny.yaml"
GRID = ("--grid=distill.outer.lr_texts=10,1000", "--grid=distill.inner_steps=1,2", "--jobs=2")
OWN = ("--reuse=true", "--threads=1", "--evaluate.methods=[distilled]")


def command(box: Path) -> list[str]:
    """Return the command line of a sweep of four tiny runs, two at a time."""
    places = (f"--out={box}/out", f"--cache_dir={box}/cache")
    return [sys.executable, "-m", "pairstill", "sweep", str(SETTINGS), *GRID, *OWN, *places]


def rows_at_work(box: Path) -> list[int]:
    """Return the processes whose settings lie in the sweep's queue."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"--config={box}/out/queue/".encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def disturbed(box: Path, kills: int, draw: random.Random) -> dict[str, int]:
    """Kill a sweep so often, then let it end; return how many sweeps and rows were killed."""
    killed = {"sweeps": 0, "rows": 0}
    while killed["sweeps"] < kills:
        process = subprocess.Popen(command(box), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(draw.uniform(4, 20))
            break  # it came to its end before the last kill
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed["sweeps"] += 1
        rows = rows_at_work(box)
        if rows and draw.random() < 0.5:
            os.kill(draw.choice(rows), signal.SIGKILL)
            killed["rows"] += 1
    subprocess.run(command(box), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return killed


def main() -> int:
    """Run both sweeps and compare their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "kill_sweep")
    asked = parser.parse_args()
    began = time.perf_counter()
    calm, box = (asked.out / name for name in ("undisturbed", f"killed_{asked.seed}"))
    subprocess.run(command(calm), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    killed = disturbed(box, asked.kills, random.Random(asked.seed))
    tables = [(folder / "out" / "table.csv").read_bytes() for folder in (calm, box)]
    same, seconds = tables[0] == tables[1], round(time.perf_counter() - began)
    print(json.dumps({"killed": killed, "same": same, "seconds": seconds}))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
