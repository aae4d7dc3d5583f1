"""Settings that are out of range, of another kind, without end, or from files that are no settings."""

import dataclasses
import typing
from functools import partial
from pathlib import Path
from typing import Any

from attacks.attack import BYTES, PLACES, Attack, Base, Step, damage
from attacks.processes import settings_of
from pairstill.config import RunConfig

KIND = "settings"
SKIPPED = ("run_dir", "cache_dir", "trajectories_dir", "tracker")
"""Attacked elsewhere, or talk to the network."""
VALUES = (
    "0",
    "-1",
    "1099511627776",
    "1" + "0" * 30,
    "0.5",
    ".nan",
    ".inf",
    "x",
    "",
    "[]",
    "{}",
    "null",
    "\x1b[2J",
    "9" * 5000,
)
COMMANDS = (
    "run",
    "report",
    "compare",
    "export",
    "shares",
    "cache",
    "evaluate",
    "select",
    "plan",
    "reproduce",
    "bench",
    "analyze",
)


def settings(base: Base) -> list[Attack]:
    """Return the attacks by settings."""
    return [*_options(), *_threads(), *_files(), *_words()]


def leaves(kind: Any, prefix: str = "") -> list[str]:
    """Return the dotted names of all settings of a dataclass."""
    found = []
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        inner = hints[field.name]
        name = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(inner):
            found += leaves(inner, f"{name}.")
        elif name not in SKIPPED:
            found.append(name)
    return found


def _options() -> list[Attack]:
    """Every setting with two values of the list, in turn."""

    def steps(option: str, folder: Path) -> list[Step]:
        return [["prepare", *settings_of(folder / "work"), option]]

    found = []
    for number, name in enumerate(leaves(RunConfig)):
        for offset in (0, 5):
            value = VALUES[(3 * number + offset) % len(VALUES)]
            found.append(Attack(KIND, f"{name} is {value[:12]!r}", partial(steps, f"--{name}={value}")))
    for name, number in (("data.scenes.train", 1), ("image.size", 1), ("text.width", 1), ("heads.width", 1)):
        for value in (2**31, 2**40, 2**63, 10**30):
            make = partial(steps, f"--{name}={value * number}")
            found.append(Attack(KIND, f"{name} is {value}", make, ends=(1, 2)))
    return found


def _threads() -> list[Attack]:
    def steps(does: str, options: tuple[str, ...], folder: Path) -> list[Step]:
        return [[does, *settings_of(folder / "work"), *options]]

    found = []
    for value in ("0", "-1", "100000", "1099511627776", "x", "1.5"):
        found.append(Attack(KIND, f"threads {value}", partial(steps, "prepare", (f"--threads={value}",)), ends=(1, 2)))
    for value in ("mps", "meta", "cuda", "cuda:7", "cpu:3", "xla", "hpu", "", "cuda:x", "\x1b[2J", "a\0b", "vulkan"):
        ends = None if value in ("cpu:3",) else (1, 2)
        found.append(Attack(KIND, f"device {value!r}", partial(steps, "run", (f"--device={value}",)), ends=ends))
    for phase in (
        "{}",
        "[]",
        "[{}]",
        "x",
        "[null]",
        "[{num_pairs: 0}]",
        "[{num_pairs: 1.5}]",
        "[{range_start: 9, range_end: 1}]",
    ):
        found.append(Attack(KIND, f"phases {phase}", partial(steps, "prepare", (f"--distill.phases={phase}",))))
    many = "[" + ",".join(["{num_pairs: 2, range_end: 1, endpoint: 2}"] * 3000) + "]"
    found.append(Attack(KIND, "3,000 phases", partial(steps, "prepare", (f"--distill.phases={many}",))))
    return found


def _bomb(levels: int = 9) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\nseed: 1\n"


def _files() -> list[Attack]:
    """Files of settings that are none, or far too much."""

    def steps(text: str | bytes, folder: Path) -> list[Step]:
        path = folder / "user" / "s.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.format(outside=folder / "outside").encode())
        return [["prepare", *settings_of(folder / "work"), f"--config={path}"]]

    def spoiled(how: str, folder: Path) -> list[Step]:
        path = folder / "user" / "s.yaml"
        path.write_text("seed: 3\nteacher: {epochs: 3}\n")
        damage(path, how, folder / "outside")
        return [["prepare", *settings_of(folder / "work"), f"--config={path}"]]

    refused = (1, 2)
    texts: dict[str, tuple[str | bytes, tuple[int, ...] | None]] = {
        "bomb of aliases": (_bomb(), refused),
        "bomb of aliases in a setting": (_bomb().replace("seed: 1", "distill: {{phases: *a8}}"), refused),
        "bomb of merges": ("a: &a {{x: 1}}\nb: &b {{<<: [*a, *a], y: 1}}\n<<: [*b, *b]\nseed: 1\n", refused),
        "an alias of itself": ("a: &a [*a]\n", refused),
        "a key twice": ("seed: 1\nseed: 2\n", None),
        "a Python object": ("seed: !!python/object/apply:os.system ['touch {outside}/pwned']\n", refused),
        "a Python name": ("seed: !!python/name:os.system\n", refused),
        "an unknown tag": ("seed: !evil 1\n", refused),
        "two documents": ("seed: 1\n---\nseed: 2\n", refused),
        "a tab": ("teacher:\n\tepochs: 3\n", refused),
        "an open bracket": ("teacher: {{epochs: 3\n", refused),
        "a secret named": ("base: {outside}/secret.txt\n", refused),
        "a base that is itself": ("base: s.yaml\n", refused),
        "a base that is a folder": ("base: .\n", refused),
        "a base that is a device": ("base: /dev/zero\n", refused),
        "a base with NUL": ('base: "a\\0b"\n', refused),
        "a base that is no path": ("base: [1, {{}}]\n", refused),
        "10,000 bases": ("base: [" + ", ".join(["none.yaml"] * 10_000) + "]\n", refused),
        "deep flow": ("a: " + "[" * 50_000, refused),
        "deep blocks": ("\n".join("  " * n + "a:" for n in range(2_000)), refused),
        "a number of 5,000 digits": ("seed: " + "9" * 5000 + "\n", refused),
        "a key of a million letters": ("x" * 10**6 + ": 1\n", refused),
        "keys that are no text": ("1: 2\n[1, 2]: 3\nnull: 4\n", refused),
        "dates": ("seed: 2020-01-01\n", refused),
        "sexagesimals": ("seed: 1:30\n", None),
        "UTF-16": ("seed: 1\n".encode("utf-16"), None),
        "Latin-1": ("text: {name: \xf6}\n".encode("latin-1"), refused),
        "escapes": ('"\\e[2J": 1\n', refused),
        "an unknown setting": ("sead: 1\n", refused),
        "a setting deeper than it is": ("seed: {{a: {{b: 1}}}}\n", refused),
    }
    found = [Attack(KIND, f"file: {name}", partial(steps, text), ends=ends) for name, (text, ends) in texts.items()]
    for how in [*BYTES, *PLACES]:
        found.append(Attack(KIND, f"file {how}", partial(spoiled, how)))
    return found


def _words() -> list[Attack]:
    """Command lines that are none."""
    lines: dict[str, list[str]] = {
        "nothing": [],
        "an unknown command": ["destroy"],
        "an escape": ["\x1b[2J"],
        "a surrogate": ["run", "--seed=\udcff"],
        "an option without value": ["run", "--seed"],
        "an option twice": ["run", "--seed=1", "--seed=x"],
        "an option's beginning": ["run", "--see=1"],
        "a long option": ["run", "--" + "x" * 100_000],
        "a million arguments": ["run", *["x"] * 20_000],
        "an empty argument": ["report", ""],
        "dashes": ["run", "--", "--"],
        "a config that is not there": ["run", "--config=none.yaml"],
        "a config that is a folder": ["run", "--config=."],
    }
    found = []
    for name, line in lines.items():

        def steps(folder: Path, line: list[str] = line) -> list[Step]:
            return [line]

        found.append(Attack(KIND, f"words: {name}", steps, ends=(1, 2)))
    for does in COMMANDS:
        for given in ((), ("none",), ("--none=1",), ("none", "none"), ("/dev/null",), ("a\0b",), ("\x1b[2J",)):
            if does in ("run", "select", "evaluate", "plan") and given == ():
                continue  # a whole run of the defaults

            def steps(folder: Path, line: tuple[str, ...] = (does, *given)) -> list[Step]:
                return [list(line)]

            found.append(Attack(KIND, f"words: {does} {' '.join(given)!r}", steps))
    return found
