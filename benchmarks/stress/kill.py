"""Kill runs at random moments with SIGKILL, restart them until they end, and compare with runs that nothing disturbed.

    OMP_NUM_THREADS=1 python benchmarks/stress/kill.py --kills 36 --out /tmp/kill

Every run begins with an empty folder and an empty cache, so a kill may come while pairs are drawn, encoded, teachers
trained, pairs distilled (features first among them) or students measured. Runs are forked from one process that has
imported everything, so that kills fall into the work and not into imports. The last line is a JSON object; the exit
status is 1 if any restart ended in other bytes, left something behind or failed.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import torch  # noqa: F401 - imported here once, and not by every run

import pairstill.pipeline  # noqa: F401 - likewise
from pairstill.cli import main

# the tests' tiny run, with more steps to be killed in
SETTINGS = Path(__file__).parents[2] / "tests" / "recipes" / "tiny.yaml"
PHASES = [
    "{num_pairs: 6, outer_steps: 7, range_start: 0, range_end: 1, endpoint: 2}",
    "{num_pairs: 4, outer_steps: 5, range_start: 1, range_end: 2, endpoint: 3}",
]
FROZEN = ["--image.trainable=false", "--heads.image=true", "--heads.width=8"]
CASES = {
    "trained": [],
    "frozen": FROZEN,
    "features_first": [*FROZEN, "--method=features_first", "--distill.features_first.steps=6"],
}
CLOCK = ("seconds", "stage_seconds", "config", "peak_memory_bytes", "sha256")


class Runs:
    """Runs of one case, each in a folder of its own with a cache of its own."""

    def __init__(self, out: Path, case: str) -> None:
        """Make a folder for the runs of a case."""
        self.out, self.case = out / case, case
        self.out.mkdir(parents=True)

    def start(self, name: str) -> int:
        """Fork a process that does the run, from the beginning or from where it was killed."""
        folder = self.out / name
        options = [f"--config={SETTINGS}", f"--distill.phases=[{', '.join(PHASES)}]"]
        options += [f"--run_dir={folder}", f"--cache_dir={folder}/cache"]
        process = os.fork()
        if process == 0:
            log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            status = 70
            try:
                status = main(["run", *options, *CASES[self.case]])
            finally:
                os._exit(status)
        return process

    def last_event(self, name: str) -> str:
        """Return what a run logged last: where the kill came."""
        try:
            lines = (self.out / name / "metrics.jsonl").read_text().splitlines()
            event = json.loads(lines[-1])
            return f"{event['event']} {event['stage']}" if "stage" in event else event["event"]
        except (OSError, IndexError, ValueError):
            return "nothing yet"


def whole(process: int, name: str) -> None:
    """Wait for a run that must succeed."""
    _, status = os.waitpid(process, 0)
    if status != 0:
        raise SystemExit(f"{name} ended with status {os.waitstatus_to_exitcode(status)}; see its log")


def outcome(folder: Path) -> dict[str, bytes | str]:
    """Return all that must not depend on kills: every artifact's bytes, and results without what the clock decides."""
    found: dict[str, bytes | str] = {}
    for part in ("trajectories", "distilled", "distillation", "ranks"):
        found |= {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / part).rglob("*.*"))}
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]
    found["results.jsonl"] = json.dumps(kept)
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    told = {(e["method"], e["protocol"], e["student"]) for e in events if e["event"] == "student"}
    measured = {(line["method"], line["protocol"], line["seeds"]["student"]) for line in lines}
    found["results without an event"] = str(sorted(measured - told))
    # an empty temporary folder is nothing: its process was killed before it could say whose it is
    found["left behind"] = str(
        sorted(str(p) for p in folder.glob("**/.*.tmp/**/*") if p.is_file() and p.name != ".lock")
    )
    return found


def stress(runs: Runs, kills: int, draw: random.Random) -> tuple[Counter[str], list[str]]:
    """Kill runs of one case so many times, and return where kills came and what was wrong."""
    began = time.perf_counter()
    whole(runs.start("undisturbed"), "undisturbed")
    seconds = time.perf_counter() - began
    expected, where, wrong = outcome(runs.out / "undisturbed"), Counter(), []
    number = killed_here = standing = 0
    while where.total() < kills or killed_here:
        name = f"run{number}"
        process = runs.start(name)
        if where.total() < kills:
            # a run is to be killed a few times before it ends; one that stands still is left alone for longer
            time.sleep(draw.uniform(0, seconds / 2 * (1 + standing)))
            if os.waitpid(process, os.WNOHANG) == (0, 0):
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                at = runs.last_event(name)
                standing = standing + 1 if at == "nothing yet" else 0
                where[at] += 1
                killed_here += 1
                continue
            process = runs.start(name)  # it ended meanwhile: once more, which must find all done
        whole(process, name)
        found = outcome(runs.out / name)
        differing = sorted(key for key in {*expected, *found} if expected.get(key) != found.get(key))
        wrong += [f"{runs.case}/{name}: {key}" for key in differing]
        print(f"{runs.case} {name}: {killed_here} kills, {', '.join(differing) or 'the same bytes'}", flush=True)
        shutil.rmtree(runs.out / name)
        number, killed_here, standing = number + 1, 0, 0
    return where, wrong


def run() -> int:
    """Stress every case and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=36, help="over all cases")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    asked = parser.parse_args()
    draw, where, wrong, began = random.Random(asked.seed), Counter(), [], time.perf_counter()
    for case in asked.cases:
        one, bad = stress(Runs(asked.out, case), -(-asked.kills // len(asked.cases)), draw)
        print(f"{case}: {one.total()} kills; last event before a kill: {dict(one.most_common())}", flush=True)
        where, wrong = where + one, wrong + bad
    seconds = round(time.perf_counter() - began)
    print(json.dumps({"kills": where.total(), "after": dict(where.most_common()), "wrong": wrong, "seconds": seconds}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(run())
