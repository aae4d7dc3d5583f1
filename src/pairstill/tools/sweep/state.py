"""What is known of a row: waiting, running since when, done, or failed with the last lines of its log."""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pairstill.storage import read_sealed, write_sealed

STATE = "state.json"
Stage = Literal["waiting", "running", "done", "failed"]
LAST_LINES, LAST_BYTES = 5, 4096
ERROR = "pairstill: error"
"""How the line begins that says why a command failed."""
SITTING = "--- "
"""How the line of a log begins that stands before what a sitting wrote."""


@dataclass(frozen=True)
class RowState:
    """What is known of a row.

    Attributes:
        stage: where it stands.
        settings: digest of the settings that this is about.
        since: when it came to stand there, as ISO 8601.
        executor: of a row that runs: who runs it.
        ticket: of a row that runs: under which its executor knows it.
        seconds: of a row that ended: how long its last sitting took.
        error: of a row that failed: why, the last lines of its log among it.
    """

    stage: Stage = "waiting"
    settings: str = ""
    since: str = ""
    executor: str = ""
    ticket: str = ""
    seconds: float | None = None
    error: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """Why it failed: what became of its process, and the last line of its log; empty if it did not."""
        return "; ".join(self.error[:1] + self.error[-1:])

    def save(self, folder: Path) -> "RowState":
        """Write the state to the row's folder as it is from now on, and return it."""
        state = replace(self, since=datetime.now(UTC).isoformat(timespec="seconds"))
        write_sealed(folder / STATE, {**asdict(state), "error": list(state.error)})
        return state

    @staticmethod
    def load(folder: Path) -> "RowState":
        """Return the state in a row's folder; one that nobody wrote is waiting.

        Raises:
            ArtifactError: it is damaged.
        """
        path = folder / STATE
        if not path.is_file():
            return RowState()
        found = read_sealed(path, *RowState.__dataclass_fields__)
        return RowState(**{**found, "error": tuple(found["error"])})


def last_lines(log: Path) -> tuple[str, ...]:
    """Return the last lines of a log, without those that are empty; none if there is no log.

    An error of the last sitting counts as one line with what follows it: its advice may stand on the first of several.
    """
    if not log.is_file():
        return ()
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - LAST_BYTES))
        lines = stream.read().decode(errors="replace").splitlines()
    return tuple(_with_error_in_one([line.rstrip() for line in lines if line.strip()]))[-LAST_LINES:]


def _with_error_in_one(lines: list[str]) -> list[str]:
    for number in range(len(lines) - 1, -1, -1):
        if lines[number].startswith(SITTING):
            break
        if lines[number].startswith(ERROR):
            return [*lines[:number], " ".join(line.strip() for line in lines[number:])]
    return lines
