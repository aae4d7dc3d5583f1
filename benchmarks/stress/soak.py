"""Watch the memory of a long distillation: thousands of small outer steps must leave it as it was.

    OMP_NUM_THREADS=1 python benchmarks/stress/soak.py --steps 2000 --out /tmp/soak

One phase of small outer steps behind a frozen tower, with checkpoints, validations, metrics and the progress bar of a
real run. Resident memory and open files are read after every tenth of the steps; the first tenth warms up. The last
line is a JSON object; the exit status is 1 if memory grew by more than --allowed_mib, or files stay open.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from pairstill.cli import main
from pairstill.runlog import MetricsLog

MIB = 2**20


def resident_mib() -> float:
    """Return the memory of this process that is in RAM now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / MIB, 1)


def run() -> int:
    """Do the steps and print what memory and files did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--allowed_mib", type=float, default=16.0, help="growth from the first tenth to the last")
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    asked = parser.parse_args()
    seen: list[dict[str, float]] = []
    write, began = MetricsLog.write, time.perf_counter()

    def watched(self: MetricsLog, event: str, **values: object) -> None:
        write(self, event, **values)
        if event == "distill_step" and int(str(values["step"])) % (asked.steps // 10) == 0:
            files = len(os.listdir("/proc/self/fd"))
            seen.append({"step": int(str(values["step"])), "rss_mib": resident_mib(), "open_files": files})
            print(seen[-1], flush=True)

    MetricsLog.write = watched
    phase = f"[{{num_pairs: 12, outer_steps: {asked.steps}, range_start: 0, range_end: 2, endpoint: 4}}]"
    status = main(
        [
            *("distill", f"--run_dir={asked.out}", f"--cache_dir={asked.out}/cache", "--device=cpu", "--threads=1"),
            *("--data.scenes.train=60", "--data.scenes.val=20", "--data.scenes.test=20", "--data.scenes.size=16"),
            *("--image.size=16", "--image.trainable=false", "--heads.image=true", "--heads.width=16"),
            *("--teacher.num_experts=2", "--teacher.epochs=4", "--teacher.batch_size=20", "--student.epochs=2"),
            *(f"--distill.phases={phase}", "--distill.inner_steps=4", "--distill.batch_size=6"),
            *("--distill.checkpoint_every=25", "--distill.validate_every=200"),
        ]
    )
    lines = (asked.out / "metrics.jsonl").read_bytes().splitlines()
    grown = round(seen[-1]["rss_mib"] - seen[0]["rss_mib"], 1)
    opened = seen[-1]["open_files"] - seen[0]["open_files"]
    report = {
        "steps": asked.steps,
        "rss_mib": [entry["rss_mib"] for entry in seen],
        "grown_mib": grown,
        "open_files": [entry["open_files"] for entry in seen],
        "metrics_lines": len(lines),
        "metrics_bytes_per_line": round(sum(map(len, lines)) / len(lines)),
        "seconds": round(time.perf_counter() - began),
    }
    print(json.dumps(report))
    return status or int(grown > asked.allowed_mib or opened > 0)


if __name__ == "__main__":
    sys.exit(run())
