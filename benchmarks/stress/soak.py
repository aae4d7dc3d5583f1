"""Watch the memory of a process that works for long: it must stay as it was.

    OMP_NUM_THREADS=1 python benchmarks/stress/soak.py steps --steps 2000 --out /tmp/soak
    OMP_NUM_THREADS=1 python benchmarks/stress/soak.py runs --runs 50 --out /tmp/soak_runs

`steps` is one phase of small outer steps behind a frozen tower, with checkpoints, validations, metrics and the progress
bar of a real run. Resident memory and open files are read after every tenth of the steps; the first tenth warms up.
`runs` is whole runs with a trained tower, one after another in one process, as a notebook or a service would do; the
tensors that are alive between them are counted as well.

The last line is a JSON object; the exit status is 1 if memory grew by more than --allowed_mib, files stay open, or
tensors stay alive.
"""

import argparse
import gc
import json
import os
import sys
import time
from pathlib import Path

import torch

from pairstill.cli import main
from pairstill.run.log import MetricsLog

MIB = 2**20
# the tests' tiny run
SETTINGS = Path(__file__).parents[2] / "tests" / "recipes" / "tiny.yaml"


def resident_mib() -> float:
    """Return the memory of this process that is in RAM now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / MIB, 1)


def open_files() -> int:
    """Return how many files this process has open (Linux)."""
    return len(os.listdir("/proc/self/fd"))


def live_tensors() -> tuple[int, int]:
    """Return how many storages tensors of this process hold, and their bytes."""
    gc.collect()
    found = {}
    for value in gc.get_objects():
        if issubclass(type(value), torch.Tensor):
            storage = value.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return len(found), sum(found.values())


def many_steps(asked: argparse.Namespace) -> int:
    """Do many steps of one run and print what memory and files did."""
    seen: list[dict[str, float]] = []
    write, began = MetricsLog.write, time.perf_counter()

    def watched(self: MetricsLog, event: str, **values: object) -> None:
        write(self, event, **values)
        if event == "distill_step" and int(str(values["step"])) % (asked.steps // 10) == 0:
            seen.append({"step": int(str(values["step"])), "rss_mib": resident_mib(), "open_files": open_files()})
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


def many_runs(asked: argparse.Namespace) -> int:
    """Do many runs in this process and print what memory, files and tensors did."""
    seen: list[dict[str, float]] = []
    began = time.perf_counter()
    for number in range(1, asked.runs + 1):
        folder = asked.out / f"run{number}"
        if main(["run", f"--config={SETTINGS}", f"--run_dir={folder}", f"--cache_dir={asked.out}/cache"]) != 0:
            return 1
        tensors, size = live_tensors()
        seen.append(
            {"run": number, "tensors": tensors, "bytes": size, "rss_mib": resident_mib(), "open_files": open_files()}
        )
        print(seen[-1], flush=True)
    warm = seen[min(4, len(seen) - 1)]
    grown = round(seen[-1]["rss_mib"] - warm["rss_mib"], 1)
    stayed = seen[-1]["bytes"] - seen[0]["bytes"]
    opened = seen[-1]["open_files"] - warm["open_files"]
    marks = seen[:: max(1, asked.runs // 10)]
    report = {
        "runs": asked.runs,
        **{key: [entry[key] for entry in marks] for key in ("run", "tensors", "bytes", "rss_mib", "open_files")},
        "tensor_bytes_grown": stayed,
        "grown_mib_since_run_5": grown,
        "seconds": round(time.perf_counter() - began),
    }
    print(json.dumps(report))
    return int(grown > asked.allowed_mib or opened > 0 or stayed > 0)


def run() -> int:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(required=True)
    for name, soak in {"steps": many_steps, "runs": many_runs}.items():
        kind = kinds.add_parser(name)
        kind.set_defaults(soak=soak)
        kind.add_argument(f"--{name}", type=int, default={"steps": 2000, "runs": 50}[name])
        kind.add_argument("--allowed_mib", type=float, default=16.0, help="growth once it is warm")
        kind.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    asked = parser.parse_args()
    return asked.soak(asked)


if __name__ == "__main__":
    sys.exit(run())
