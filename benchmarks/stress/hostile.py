"""Feed pairstill what nobody should: damaged, forged and foreign files, settings and names, and see what it does.

    OMP_NUM_THREADS=1 python benchmarks/stress/hostile.py --out /tmp/hostile
    OMP_NUM_THREADS=1 python benchmarks/stress/hostile.py --out /tmp/hostile --only sources pictures

Every attack is made by a rule, in a folder of its own, with files of the user's and secrets beside it, and runs in a
process forked from one that has imported everything. It may fail by an error that pairstill means; it may not end in a
traceback, hang, touch a file that is not its to write, read one outside of the dataset, show control characters raw, or
say that it is done with samples gone or other results. The last line is a JSON object; the exit status is 1 if anything
of that was seen. When it is stopped, the same command goes on from there; `--again` repeats what was found wrong.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

from attacks import ATTACKS, Attack, Base
from attacks.judge import FAULTS, judge
from attacks.processes import attempt, make_base

STILL = 10
"""Seconds after which an attack hangs that does nothing."""


def run_one(attack: Attack, base: Base, folder: Path) -> dict[str, object]:
    """Do one attack in a folder of its own, and return what came of it."""
    shutil.rmtree(folder, ignore_errors=True)
    ended = attempt(attack, base, folder, STILL)
    faults = judge(attack, base, ended)
    if not faults:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "kind": attack.kind,
        "name": attack.name,
        "status": ended.status,
        "seconds": round(ended.seconds, 1),
        "faults": faults,
        "said": ended.errors.strip().splitlines()[-1][:300] if ended.errors.strip() else "",
    }


def table(done: list[dict]) -> str:
    """Return the counts by kind as a Markdown table."""
    lines = [
        "| kind | attacks | refused | done | " + " | ".join(FAULTS) + " |",
        "| --- |" + " ---: |" * (3 + len(FAULTS)),
    ]
    kinds = [*dict.fromkeys(each["kind"] for each in done)]
    for kind in [*kinds, "all"]:
        rows = [each for each in done if kind in ("all", each["kind"])]
        counts = Counter(fault.split(":")[0] for each in rows for fault in each["faults"])
        fine = sum(each["status"] == 0 for each in rows)
        cells = [kind, len(rows), len(rows) - fine, fine, *(counts[fault] for fault in FAULTS)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def run() -> int:
    """Do the attacks that are not done yet and print what came of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder for the attacks and what came of them")
    parser.add_argument("--only", nargs="+", choices=ATTACKS, default=list(ATTACKS), help="kinds of attacks")
    parser.add_argument("--name", default="", help="only attacks with this in their name")
    parser.add_argument("--every", type=int, default=1, help="only one of so many of each kind")
    parser.add_argument("--again", action="store_true", help="repeat the attacks that were found to do wrong")
    parser.add_argument("--list", action="store_true", help="print the attacks, and do none")
    asked = parser.parse_args()
    out, began = asked.out.resolve(), time.perf_counter()
    base = make_base(out / "base")
    attacks = [
        (number, each)
        for kind in asked.only
        for number, each in enumerate(ATTACKS[kind](base))
        if asked.name in each.name and number % asked.every == 0
    ]
    if asked.list:
        print("\n".join(f"{each.kind} {each.name!r}" for _, each in attacks), f"\n{len(attacks)} attacks")
        return 0
    log = out / "done.jsonl"
    known = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        entry = json.loads(line)
        known[entry["kind"], entry["name"]] = entry
    done = []
    for number, attack in attacks:
        entry = known.get((attack.kind, attack.name))
        if entry is None or (asked.again and entry["faults"]):
            entry = run_one(attack, base, out / attack.kind / f"{number:04d}")
            with log.open("a") as stream:
                stream.write(json.dumps(entry) + "\n")
            if entry["faults"]:
                print(f"{attack.kind} {number:04d} {attack.name!r}: {'; '.join(entry['faults'])[:300]}", flush=True)
        done.append(entry)
    print(table(done))
    wrong = [f"{each['kind']} {each['name']}" for each in done if each["faults"]]
    seconds = round(sum(each["seconds"] for each in done))
    print(
        json.dumps(
            {"attacks": len(done), "wrong": wrong, "seconds": seconds, "now": round(time.perf_counter() - began)}
        )
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(run())
