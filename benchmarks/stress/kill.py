"""Kill commands at random moments with SIGKILL, restart them until they end, and compare with what nothing disturbed.

    OMP_NUM_THREADS=1 python benchmarks/stress/kill.py --kills 100 --out /tmp/kill

Runs begin with an empty folder and an empty cache, so a kill may come while pairs are drawn, encoded, teachers trained,
pairs distilled (features first among them) or students measured. Every other command that writes begins with finished
runs. Processes are forked from one that has imported everything, so that kills fall into the work and not into imports.
The last line is a JSON object; the exit status is 1 if any restart ended in other bytes, left something behind or
failed.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch  # noqa: F401 - imported here once, and not by every run

import pairstill.run.pipeline  # noqa: F401 - likewise
from pairstill.cli import main
from pairstill.exchange.settings import LAYOUTS

# the tests' tiny run, with more steps to be killed in
SETTINGS = Path(__file__).parents[2] / "tests" / "recipes" / "tiny.yaml"
PHASES = [
    "{num_pairs: 6, outer_steps: 7, range_start: 0, range_end: 1, endpoint: 2}",
    "{num_pairs: 4, outer_steps: 5, range_start: 1, range_end: 2, endpoint: 3}",
]
FROZEN = ("--image.trainable=false", "--heads.image=true", "--heads.width=8")
KEEP = "--teacher.keep=all"  # which analyses need
CLOCK = ("seconds", "stage_seconds", "config", "peak_memory_bytes", "sha256", "ts", "time")
LOGS = ("metrics.jsonl", "seconds.json", "environment.json")
"""What says when and for how long."""
MADE = re.compile(rb"Made \d{4}-\d\d-\d\d \d\d:\d\d UTC|\| [\d.]+ (s|min|h) \|")


def on(stage: str, box: Path, *options: str, run: str = "run", phases: Sequence[str] = PHASES) -> list[str]:
    """Return the command line of a stage of a tiny run; without `phases` those of the tests' settings."""
    own = [f"--distill.phases=[{', '.join(phases)}]"] if phases else []
    return [stage, f"--config={SETTINGS}", *own, f"--run_dir={box}/{run}", f"--cache_dir={box}/cache", *options]


@dataclass(frozen=True)
class Case:
    """What is killed.

    Attributes:
        line: the command line, given the folder that it works in.
        fresh: whether it begins with nothing; otherwise with finished runs and their cache.
        then: a command line that is done afterwards, undisturbed, before all is compared.
        once: whether the same command refuses to be done again once it is done.
    """

    line: Callable[[Path], list[str]]
    fresh: bool = False
    then: Callable[[Path], list[str]] | None = None
    once: bool = False


def _export(layout: str) -> Callable[[Path], list[str]]:
    return lambda box: ["export", f"{box}/run", f"--format={layout}", f"--out={box}/out", "--measure=always"]


CASES = {
    "trained": Case(lambda box: on("run", box, run="new"), fresh=True),
    "frozen": Case(lambda box: on("run", box, *FROZEN, run="new"), fresh=True),
    "features_first": Case(
        lambda box: on("run", box, *FROZEN, "--method=features_first", "--distill.features_first.steps=6", run="new"),
        fresh=True,
    ),
    "prepare": Case(lambda box: on("prepare", box, run="new"), fresh=True),
    "teach": Case(lambda box: on("teach", box, "--seed=3", run="new")),
    "select": Case(lambda box: on("select", box, "--method=herding", run="new", phases=())),
    **{f"export_{layout}": Case(_export(layout), once=True) for layout in LAYOUTS},
    "report": Case(lambda box: ["report", f"{box}/run"]),
    "compare": Case(lambda box: ["compare", f"{box}/run", f"{box}/frozen", f"--out={box}/out", "--resamples=500"]),
    "shares": Case(lambda box: ["shares", f"{box}/frozen"]),
    "cross": Case(lambda box: on("evaluate", box, KEEP, "--text-encoder=hashed_ngrams,width=24", "--map-text")),
    "adopt": Case(lambda box: on("evaluate", box, f"--distilled={box}/run", run="new")),
    "analyze": Case(lambda box: ["analyze", "teachers", *on("", box, KEEP)[1:]]),
    "cache": Case(
        lambda box: ["cache", f"--cache_dir={box}/cache", "--remove=all"], then=lambda box: on("run", box, run="new")
    ),
}
"""What is killed, by name: whole runs, and every other command that writes."""


class Boxes:
    """Folders in which the commands of one case work; all at the same place, one after another."""

    def __init__(self, out: Path, name: str) -> None:
        """Make the folder of a case."""
        self.name, self.case, self.out = name, CASES[name], out
        self.box, self.log = out / "box", out / f"{name}.log"

    def clear(self) -> None:
        """Make the folder as it is before the command."""
        shutil.rmtree(self.box, ignore_errors=True)
        self.box.mkdir(parents=True)
        if not self.case.fresh:
            shutil.copytree(self.out / "base", self.box, dirs_exist_ok=True)

    def start(self, line: list[str]) -> int:
        """Fork a process that does a command, from the beginning or from where it was killed."""
        return forked(line, self.log)

    def last_event(self) -> str:
        """Return what a run logged last: where the kill came."""
        try:
            lines = (self.box / "new" / "metrics.jsonl").read_text().splitlines()
            event = json.loads(lines[-1])
            return f"{event['event']} {event['stage']}" if "stage" in event else event["event"]
        except (OSError, IndexError, ValueError):
            return "nothing yet"

    def finish(self, status: int) -> bool:
        """Do what comes after a command that ended with a status; return whether all was right."""
        right = status == 0 or self._done_before()
        if right and self.case.then is not None:
            _, status = os.waitpid(self.start(self.case.then(self.box)), 0)
            right = status == 0
        return right

    def _done_before(self) -> bool:
        """Whether the command was killed when it was done, and rightly refuses to write over what it made."""
        return self.case.once and "exists already" in self.log.read_text().splitlines()[-1]


def forked(line: list[str], log: Path) -> int:
    """Fork a process that does a command."""
    process = os.fork()
    if process == 0:
        to = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(to, 1)
        os.dup2(to, 2)
        status = 70
        try:
            status = main(line)
        finally:
            sys.stdout.flush()
            os._exit(status)
    return process


def make_base(out: Path) -> None:
    """Make the finished runs that commands begin with."""
    box = out / "box"
    box.mkdir(parents=True)
    for line in (on("run", box, KEEP, "--reuse=true"), on("run", box, KEEP, *FROZEN, "--reuse=true", run="frozen")):
        if os.waitpid(forked(line, out / "base.log"), 0)[1] != 0:
            raise SystemExit(f"the base could not be made; see {out}/base.log")
    box.rename(out / "base")


def content(path: Path) -> bytes:
    """Return what a file holds that must not depend on kills: all, but for what the clock decides."""
    if path.name in ("results.jsonl", "shares.jsonl", "cross.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return json.dumps([{k: v for k, v in line.items() if k not in CLOCK} for line in lines]).encode()
    return MADE.sub(b"", path.read_bytes())


def outcome(box: Path) -> dict[str, bytes]:
    """Return all that must not depend on kills: every file's content, and that nothing is left behind."""
    found: dict[str, bytes] = {}
    for path in sorted(path for path in box.rglob("*") if path.is_file() and path.name != ".lock"):
        parts = path.relative_to(box).parts
        # what is known of checked images has the times of their files; where distilled pairs are, is a run's own
        if path.name in LOGS or parts[:2] in (("cache", "checked"), ("cache", "distilled")):
            continue
        # an empty temporary folder is nothing: its process was killed before it could say whose it is
        found[str(path.relative_to(box))] = content(path)
    results, log = box / "new" / "results.jsonl", box / "new" / "metrics.jsonl"
    if results.is_file():
        events = [json.loads(line) for line in log.read_text().splitlines()]
        told = {(e["method"], e["protocol"], e["student"]) for e in events if e["event"] == "student"}
        lines = [json.loads(line) for line in results.read_text().splitlines()]
        measured = {(line["method"], line["protocol"], line["seeds"]["student"]) for line in lines}
        found["results without an event"] = str(sorted(measured - told)).encode()
    return found


def stress(boxes: Boxes, kills: int, draw: random.Random) -> tuple[Counter[str], list[str]]:
    """Kill commands of one case so many times, and return where kills came and what was wrong."""
    line = boxes.case.line(boxes.box)
    boxes.clear()
    began = time.perf_counter()
    _, status = os.waitpid(boxes.start(line), 0)
    seconds = time.perf_counter() - began
    if not boxes.finish(status):
        raise SystemExit(f"{boxes.name} fails undisturbed; see {boxes.log}")
    expected, where, wrong = outcome(boxes.box), Counter(), []
    number = killed_here = standing = 0
    boxes.clear()
    while where.total() < kills or killed_here:
        process = boxes.start(line)
        if where.total() < kills:
            # it is to be killed a few times before it ends; what stands still is left alone for longer
            time.sleep(draw.uniform(0, seconds / 2 * (1 + standing)))
            if os.waitpid(process, os.WNOHANG) == (0, 0):
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                at = boxes.last_event() if boxes.case.fresh else boxes.name
                standing = standing + 1 if at in ("nothing yet", boxes.name) else 0
                where[at] += 1
                killed_here += 1
                continue
            process = boxes.start(line)  # it ended meanwhile: once more, which must find all done
        right = boxes.finish(os.waitpid(process, 0)[1])
        found = outcome(boxes.box)
        differing = sorted(key for key in {*expected, *found} if expected.get(key) != found.get(key))
        differing += [] if right else ["its status"]
        wrong += [f"{boxes.name} {number}: {key}" for key in differing]
        print(f"{boxes.name} {number}: {killed_here} kills, {', '.join(differing) or 'the same bytes'}", flush=True)
        number, killed_here, standing = number + 1, 0, 0
        boxes.clear()
    return where, wrong


def run() -> int:
    """Stress every case and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="over all cases")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    asked = parser.parse_args()
    draw, where, wrong, began = random.Random(asked.seed), Counter(), [], time.perf_counter()
    out = asked.out.resolve()
    out.mkdir(parents=True)
    if any(not CASES[name].fresh for name in asked.cases):
        make_base(out)
    for name in asked.cases:
        one, bad = stress(Boxes(out, name), -(-asked.kills // len(asked.cases)), draw)
        print(f"{name}: {one.total()} kills; last event before a kill: {dict(one.most_common())}", flush=True)
        where, wrong = where + one, wrong + bad
    seconds = round(time.perf_counter() - began)
    print(json.dumps({"kills": where.total(), "after": dict(where.most_common()), "wrong": wrong, "seconds": seconds}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(run())
