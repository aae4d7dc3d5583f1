"""What is measured of a run, kept: one record for each student, with one key, whatever it was that was measured."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pairstill.config import EvaluationProtocol
from pairstill.storage import digest, read_json_lines, write_json_lines

Kind = Literal["retrieval", "cross", "shares", "downstream"]
FILES: dict[Kind, str] = {
    "retrieval": "results.jsonl",
    "cross": "cross.jsonl",
    "shares": "shares.jsonl",
    "downstream": "downstream.jsonl",
}
NEEDED: dict[Kind, tuple[str, ...]] = {
    "retrieval": ("method", "protocol", "seeds"),
    "cross": ("method", "seeds", "measured_as", "mean_recall"),
    "shares": ("measured_as", "ranks", "mean_recall"),
    "downstream": ("method", "seeds", "measured_as"),
}
"""What every line of a kind has, whatever version wrote it."""


@dataclass(frozen=True)
class Key:
    """What tells a measurement from all others of a run; a part that is None is not known, or there is no such thing.

    Attributes:
        kind: what is measured.
        row: the name of the row, or of the variant of the students.
        protocol: how it is reported.
        student: the student's number.
        measured_as: digest of the settings that decide the numbers, and of whatever the kind adds to them.
        seeds: of the run, the teachers and the distillation, by these names.
        pairs: which pairs the student saw, as `stored_pairs` gives it.
        test_data: fingerprint of what it was tested on.
        encoders: digest of the student's encoders and heads.
    """

    kind: Kind
    row: str
    protocol: EvaluationProtocol
    student: int | None
    measured_as: str | None
    seeds: Mapping[str, int | None] = field(default_factory=dict)
    pairs: str | None = None
    test_data: str | None = None
    encoders: str | None = None

    def agrees(self, other: "Key") -> bool:
        """Return whether both may be of one measurement: no part that is known of both differs.

        Example:
            >>> old = Key("cross", "ptm_st", "strict", 0, "a1", pairs="b2")
            >>> old.agrees(Key("cross", "ptm_st", "strict", 0, "a1", pairs="b2", test_data="c3"))
            True
            >>> old.agrees(Key("cross", "ptm_st", "strict", 0, "a1", pairs="other"))
            False
        """
        return self._always == other._always and all(
            value is None or there is None or value == there
            for value, there in [
                *((value, other.seeds.get(name)) for name, value in self.seeds.items()),
                *zip(self._perhaps, other._perhaps, strict=True),
            ]
        )

    @property
    def _always(self) -> tuple[Any, ...]:
        return self.kind, self.row, self.protocol, self.student, self.measured_as

    @property
    def _perhaps(self) -> tuple[str | None, ...]:
        return self.pairs, self.test_data, self.encoders

    @property
    def file_name(self) -> str:
        """What files of this measurement are called, such as the ranks of its queries, without an extension."""
        parts = [*self._always, dict(sorted(self.seeds.items())), *self._perhaps]
        kind = () if self.kind == "retrieval" else (self.kind,)
        return "-".join((*kind, self.row, self.protocol, str(self.student), digest(json.dumps(parts))[:16]))

    def to_json(self) -> dict[str, Any]:
        """Return the key as the beginning of a line; its kind is the file's."""
        return {
            "method": self.row,
            "protocol": self.protocol,
            "seeds": {**self.seeds, "student": self.student},
            "measured_as": self.measured_as,
            "pairs": self.pairs,
            "test_data": self.test_data,
            "encoders": self.encoders,
        }

    @staticmethod
    def of(kind: Kind, line: Mapping[str, Any]) -> "Key":
        """Return the key of a line, or what lines of older versions say of it: they were all of `strict` but results.

        Those of `shares` named a `variant` and a `student`, those of `downstream` the `fingerprint` of their items.
        """
        seeds = dict(line.get("seeds", {}))
        return Key(
            kind=kind,
            row=line["method"] if "method" in line else line.get("variant", ""),
            protocol=line.get("protocol", "strict"),
            student=seeds.pop("student", line.get("student")),
            measured_as=line.get("measured_as"),
            seeds=seeds,
            pairs=line.get("pairs"),
            test_data=line.get("test_data", line.get("fingerprint")),
            encoders=line.get("encoders"),
        )


@dataclass(frozen=True)
class Record:
    """One student, measured.

    Attributes:
        key: what tells it from others.
        facts: the line as it stands in the file: its numbers, with the key.
    """

    key: Key
    facts: dict[str, Any]

    @staticmethod
    def new(key: Key, facts: Mapping[str, Any]) -> "Record":
        """Return a record of what was just measured."""
        return Record(key, {**key.to_json(), **facts})


@dataclass(frozen=True)
class Ledger:
    """The records of one kind of a run, in a file of one line each.

    Attributes:
        kind: what is measured.
        folder: the run's.
    """

    kind: Kind
    folder: Path

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / FILES[self.kind]

    def records(self) -> list[Record]:
        """Return all records in order, those of other settings or pairs as well.

        Raises:
            ArtifactError: a line is damaged.
        """
        lines = read_json_lines(self.path, *NEEDED[self.kind])
        return [Record(Key.of(self.kind, line), line) for line in lines]

    def find(self, asked: Key) -> Record | None:
        """Return the last record whose key agrees with what is asked for, or None if there is none."""
        return next((record for record in reversed(self.records()) if record.key.agrees(asked)), None)

    def students(self, asked: Key) -> list[Record]:
        """Return the last record of every student whose key agrees otherwise with what is asked for, in order."""
        found = {r.key.student: r for r in self.records() if r.key.agrees(replace(asked, student=r.key.student))}
        return list(found.values())

    def add(self, record: Record) -> None:
        """Add a record, or put it in the place of the one of the same measurement, atomically.

        Raises:
            ValueError: a number is not finite.
        """
        kept, placed = [], False
        for known in self.records():
            if not known.key.agrees(record.key):
                kept.append(known)
            elif not placed:
                kept.append(record)
                placed = True
        write_json_lines(self.path, [known.facts for known in (kept if placed else [*kept, record])])
