"""What the kit found, a line of JSON for each check, written as it comes; what is there already is not done again."""

import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairstill.storage import append_json_line, read_json_lines


@dataclass(frozen=True)
class Record:
    """The file of results, for one part.

    Attributes:
        path: the file.
        part: the part's name.
        state: the code and the machine, without which a result means nothing.
    """

    path: Path
    part: str
    state: dict[str, Any]

    def add(self, check: str, **found: Any) -> None:
        """Write one line, and show it."""
        line = {"part": self.part, "check": check, **found, **self.state}
        append_json_line(self.path, line)
        print(f"{self.part}: {check}: {found}", flush=True)

    def has(self, check: str) -> bool:
        """Return whether a check went well before, with this code on this kind of machine."""
        asked = {"part": self.part, "check": check, "ok": True, **self.state}
        return any(asked.items() <= line.items() for line in read_json_lines(self.path))

    def all_well(self) -> bool:
        """Return whether the last line of every check of this part, in this state, says that it went well."""
        last = {
            line["check"]: line["ok"]
            for line in read_json_lines(self.path)
            if {"part": self.part, **self.state}.items() <= line.items()
        }
        return all(last.values())

    def run(self, check: str, call: Callable[[], dict[str, Any]]) -> bool:
        """Do a check unless it went well before; what it raises is a result too. Return whether it went well."""
        if self.has(check):
            return True
        began = time.perf_counter()
        try:
            found = call()
        except Exception as error:  # whatever a GPU says is what we want to know
            traceback.print_exc(file=sys.stderr)
            found = {"ok": False, "error": f"{type(error).__name__}: {str(error)[:400]}"}
        self.add(check, **{"ok": True, **found}, seconds_of_check=round(time.perf_counter() - began, 2))
        return bool(found.get("ok", True))


def environment_of(site: Path | None) -> dict[str, str]:
    """Return the environment of a process that finds this package and what was brought along."""
    places = [str(Path(__file__).parents[2] / "src"), *([str(site)] if site else []), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in places if place)}
