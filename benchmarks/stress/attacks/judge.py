"""What of an attack's end is a fault."""

import json
import re
from pathlib import Path
from typing import Any

from attacks.attack import SECRET, Attack, Base
from attacks.processes import Ended

FAULTS = ("traceback", "hang", "touched", "lost", "leaked", "raw", "unexpected")
MEANT = (0, 1, 2)
CLOCK = ("seconds", "stage_seconds", "config", "peak_memory_bytes", "sha256", "commit")
_RAW = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")


def judge(attack: Attack, base: Base, ended: Ended) -> list[str]:
    """Return the faults, each with its kind first."""
    faults = []
    if ended.status is None:
        faults.append(f"hang: {ended.seconds:.0f} s")
    elif ended.status not in MEANT or "Traceback (most recent call last)" in ended.errors:
        last = ended.errors.strip().splitlines()[-1:] or [f"status {ended.status}"]
        faults.append(f"traceback: {last[0][:200]}")
    elif ended.status != 0 and not (ended.errors + ended.output).strip():
        faults.append(f"unexpected: status {ended.status} without a word")
    faults += [f"touched: {path}" for path in _touched(attack, ended)][:3]
    faults += [f"leaked: {path}" for path in _leaked(ended)][:3]
    if found := _RAW.search(ended.output + ended.errors):
        faults.append(f"raw: {found.group()!r} on the terminal")
    if ended.status == 0:
        faults += _lost(attack, base, ended)
    if attack.ends is not None and ended.status not in attack.ends and not faults:
        said = ended.errors.strip().splitlines()[-1:] or [""]
        faults.append(f"unexpected: status {ended.status}, not {attack.ends}: {said[0][:150]}")
    return faults


def _touched(attack: Attack, ended: Ended) -> list[str]:
    """Return the paths that changed though they are not the command's to write."""
    paths = {*ended.before, *ended.after}
    changed = sorted(path for path in paths if ended.before.get(path) != ended.after.get(path))
    kept = tuple(f"work/{path}" for path in attack.keeps)
    return [path for path in changed if not path.startswith("work/") or path.startswith(kept or ("\0",))]


def _leaked(ended: Ended) -> list[str]:
    """Return where a secret has turned up."""
    picture = (ended.folder / "outside" / "secret.png").read_bytes()
    found = ["the terminal"] if SECRET in ended.output + ended.errors else []
    for name in ended.after:
        path = ended.folder / name
        if name.startswith("work/") and path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if SECRET.encode() in content or content == picture:
                found.append(name)
    return found


def _lost(attack: Attack, base: Base, ended: Ended) -> list[str]:
    """Return what is gone or other than it should be, though all was said to be done."""
    faults = []
    if attack.samples is not None:
        data = json.loads((ended.folder / "work" / "run" / "data.json").read_text())
        read = sum(data["captions"].values()) + len(data["dropped"])
        if read < attack.samples:
            faults.append(f"lost: {read} of {attack.samples} samples")
    if attack.same is not None:
        mine, theirs = ended.folder / attack.same[0], base.folder / attack.same[1]
        expected, found = outcome(theirs), outcome(mine)
        faults += [f"lost: {key} differs" for key in expected if expected[key] != found.get(key)]
    return faults


def outcome(run: Path) -> dict[str, Any]:
    """Return what must not depend on what was done to a run."""
    found: dict[str, Any] = {}
    for path in (*run.glob("distilled/*.safetensors"), *run.glob("teachers/*.safetensors")):
        found[str(path.relative_to(run))] = path.read_bytes() if path.is_file() else None
    if (run / "results.jsonl").is_file():
        lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
        rows = [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]
        found["results"] = sorted({json.dumps(row, sort_keys=True) for row in rows})
    return found
