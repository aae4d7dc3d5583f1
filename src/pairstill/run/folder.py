"""The folder of a run: resolved settings, versions, data fingerprint, metrics, results and artifacts."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from pairstill.config import PhaseConfig, RunConfig
from pairstill.config.defaults import in_use
from pairstill.config.roles import with_role
from pairstill.config.yaml_files import in_todays_words, parse_yaml, plain, to_yaml
from pairstill.core.errors import ArtifactError, ConfigError, DataError, MissingDependencyError, list_problems
from pairstill.core.provenance import environment
from pairstill.distilled.pairs import FORMAT
from pairstill.evaluate.ledger import Kind, Ledger
from pairstill.events import Emit, Event, silent
from pairstill.methods.stored import todays
from pairstill.run import log
from pairstill.run.data_facts import what_changed
from pairstill.run.log import SITTING, MetricsLog, read_events
from pairstill.run.trackers import Tracker
from pairstill.storage import digest, read_json, read_sealed, read_text, write_json, write_sealed, write_text_atomic
from pairstill.storage.checksums import SETTINGS_SEAL
from pairstill.storage.locks import LOCK, Lock, hold
from pairstill.storage.owned import refuse_others

# what may differ between a run and its continuation: where and how it computes, and what is measured at the end
FREE_SETTINGS = with_role(RunConfig, "place", "student", "measure")
POINTER = "teachers{}.json"
GIVEN = "given.yaml"
"""The settings as they were given; `config.yaml` has them as their method resolved them."""
BEGINNING = (LOCK, "config.yaml", GIVEN, "environment.json", "data.json", "metrics.jsonl", "seconds.json")
"""What a run writes before it makes anything."""
_LAST = ("protocol", "num_students", "methods", "references")
_ALWAYS = ("run_dir", "data", "image", "text", "teacher", "distill", "student", "evaluate")
"""Settings that every version wrote, and the last of them."""
_OF_THIS_RUN = "delete this file and give `pairstill run` the settings of its run, or choose another run_dir"


class RunFolder:
    """One run's folder; opening it again goes on with the same run. While it is open no other process writes to it."""

    def __init__(
        self,
        config: RunConfig,
        *,
        given: RunConfig | None = None,
        writes: bool = True,
        emit: Emit = silent,
    ) -> None:
        """Create the folder, or open it if it holds a run with the same settings.

        Args:
            config: the run's settings, as their method resolved them.
            given: the settings before that, if they are known.
            writes: whether this process writes; if not, the folder is only read, metrics and seconds are dropped.
            emit: told when the tracker fails.

        Raises:
            ConfigError: the folder holds a run whose settings differ, which the message names, or something that is no
                run.
            MissingDependencyError: the tracker's package is not installed.
            BusyError: another process is at work in the folder.
            ArtifactError: the settings of the run that it holds are damaged.
            StorageError: the folder cannot be written to.
        """
        self.path = Path(config.run_dir)
        self._writes = writes
        self._new: tuple[Path, ...] = ()
        self._tracker: Tracker | None = None
        self._sits = False
        if not writes:
            self.metrics = MetricsLog(None)
            return
        refuse_others(self.path, "a run", "run_dir", is_run)
        self._new = tuple(folder for folder in (self.path, *self.path.parents) if not folder.exists())
        self._lock: Lock | None = hold(self.path)
        self._check_same_run(config)
        _write_settings(self.path / "config.yaml", config)
        if given is not None:
            _write_settings(self.path / GIVEN, given)
        write_json(self.path / "environment.json", environment(config.seed))
        try:
            self._tracker = Tracker(config.tracker, self.path, plain(config), emit) if config.tracker else None
        except MissingDependencyError:
            self.remove_if_unused()
            raise
        self.metrics = MetricsLog(self.path / "metrics.jsonl")

    def hear(self, event: Event) -> None:
        """Log an event of the run; then the tracker hears of it, too."""
        if event.name is not None and self._writes and not self._sits:
            _ = self.killed_seconds  # of those before this one
            self.metrics.write(SITTING)
            self._sits = True
        self.metrics.hear(event)
        if self._tracker is not None:
            self._tracker.hear(event)

    def _check_same_run(self, config: RunConfig) -> None:
        if differing := self.changed_settings(config):
            raise ConfigError(
                f"{self.path} holds a run with other settings; choose another run_dir, or delete it:\n"
                + list_problems(differing)
            )

    def changed_settings(self, config: RunConfig) -> list[str]:
        """Return what keeps the run in the folder from going on with these settings, a setting each.

        Args:
            config: the settings, with the parts that their method sets.

        Raises:
            ArtifactError: the settings of the run in the folder are damaged.
        """
        path = self.path / "config.yaml"
        if not path.is_file() or not self._holds_work():
            return []  # a run that ended before it made anything, over a bad pair or a typing error, binds nobody
        return other_settings(path, config)

    @property
    def writes(self) -> bool:
        """Whether this process writes to the folder."""
        return self._writes

    def remove_if_unused(self) -> None:
        """Remove the folder if this process made it and nothing but what every run begins with is in it."""
        if not self._new or any(path.name not in BEGINNING for path in self.path.iterdir()):
            return
        with suppress(OSError):  # it was an error that led here, and that one is told
            for path in self.path.iterdir():
                path.unlink()
            for folder in self._new:
                folder.rmdir()  # which refuses if there is anything else in it
        self._lock, self._new = None, ()

    def _holds_work(self) -> bool:
        """Return whether anything is there that depends on the settings."""
        made = (self.own_trajectories, self.phases, self.distillation, self.distilled, self.rates)
        return any(path.exists() for path in (*made, self.ledger("retrieval").path))

    @property
    def trajectories(self) -> Path:
        """Folder of the experts, wherever it is: the run's own, or one that it shares with others."""
        return self.trajectories_of(0)

    @property
    def own_trajectories(self) -> Path:
        """Folder of the experts that this run alone uses."""
        return self.own_trajectories_of(0)

    def trajectories_of(self, tower: int) -> Path:
        """Return the folder of the experts behind an image tower of the run, from 0, wherever it is."""
        pointer = self._pointer(tower)
        own = self.own_trajectories_of(tower)
        return Path(read_sealed(pointer, "trajectories")["trajectories"]) if pointer.is_file() else own

    def own_trajectories_of(self, tower: int) -> Path:
        """Return the folder of the experts behind an image tower, from 0, that this run alone uses."""
        return self.path / f"trajectories{_of_tower(tower)}"

    def point_to_trajectories(self, folder: Path | None, tower: int = 0) -> None:
        """Write down which shared folder the experts are in; None says that they are in the run's own.

        Args:
            folder: the folder.
            tower: the image tower behind which they learn, from 0.
        """
        pointer = self._pointer(tower)
        if not self._writes or (folder is None and not pointer.is_file()):
            return
        if folder is None:
            pointer.unlink()
        else:
            write_sealed(pointer, {"trajectories": str(folder.absolute())})

    def _pointer(self, tower: int) -> Path:
        return self.path / POINTER.format(_of_tower(tower))

    @property
    def phases(self) -> Path:
        """The file of the phases that set themselves, and why they are so."""
        return self.path / "phases.json"

    def chosen_phases(self) -> tuple[PhaseConfig, ...] | None:
        """Return the phases that set themselves, or None if they have not yet."""
        if not self.phases.is_file():
            return None
        return tuple(PhaseConfig(**phase) for phase in read_sealed(self.phases, "phases")["phases"])

    @property
    def data(self) -> Path:
        """The file that says which real pairs the run has."""
        return self.path / "data.json"

    @property
    def distillation(self) -> Path:
        """Folder of checkpoints and finished phases."""
        return self.path / "distillation"

    @property
    def distilled(self) -> Path:
        """Folder of the distilled set."""
        return self.path / "distilled"

    def is_distilled(self) -> bool:
        """Return whether the run's pairs are made."""
        return (self.distilled / "distilled.json").is_file()

    @property
    def ranks(self) -> Path:
        """Folder of the students' ranks of test queries."""
        return self.path / "ranks"

    @property
    def rates(self) -> Path:
        """Folder of the trials by which the students' rates are chosen."""
        return self.path / "rates"

    def ledger(self, kind: Kind) -> Ledger:
        """Return the records of what is measured of a kind."""
        return Ledger(kind, self.path)

    def results(self) -> list[dict[str, Any]]:
        """Return the results so far, one mapping per student and protocol."""
        return [record.facts for record in self.ledger("retrieval").records()]

    def record_data(self, data: Mapping[str, Any]) -> None:
        """Write down which pairs the run has, or, where nothing is written, check that they are those.

        Args:
            data: what `describe_data` says of them, JSON values with a `fingerprint`.

        Raises:
            DataError: the run has begun with other pairs.
        """
        path = self.data
        if path.is_file() and self._holds_work():
            before = read_sealed(path, "fingerprint")
            if before["fingerprint"] != data["fingerprint"]:
                raise DataError(
                    f"the images, captions or splits are not those that {self.path} was begun with"
                    f"{what_changed(before, data)}; put them back, or choose another run_dir"
                )
        if self._writes:
            write_sealed(path, data)

    def test_images(self) -> int | None:
        """Return how many images the test split has, or None if that was not written down."""
        path = self.data
        images = read_sealed(path).get("images") if path.is_file() else None
        return images.get("test") if isinstance(images, dict) else None

    def add_seconds(self, stage: str, seconds: float) -> None:
        """Add to the seconds that a stage has taken over all sittings."""
        if not self._writes:
            return
        known = self._ended_seconds()
        write_sealed(self.path / "seconds.json", {**known, stage: round(known.get(stage, 0.0) + seconds, 1)})

    def seconds(self, stage: str) -> float:
        """Return the seconds that a stage has taken over all sittings, one that was killed up to its last event."""
        return round(self._ended_seconds().get(stage, 0.0) + self.killed_seconds.get(stage, 0.0), 1)

    @cached_property
    def killed_seconds(self) -> dict[str, float]:
        """The seconds of the sittings that were killed before this one, by stage."""
        return log.killed_seconds(self.path / "metrics.jsonl")

    def _ended_seconds(self) -> dict[str, float]:
        """Return the seconds of all sittings that were not killed, by stage."""
        path = self.path / "seconds.json"
        return read_sealed(path) if path.is_file() else {}

    def all_seconds(self, *stages: str) -> dict[str, float]:
        """Return the seconds of those stages that have taken any."""
        return {stage: seconds for stage in stages if (seconds := self.seconds(stage)) > 0}


def _of_tower(tower: int) -> str:
    """Return what ends the names of what belongs to a further image tower."""
    return f"_tower{tower + 1}" if tower else ""


def _write_settings(path: Path, config: RunConfig) -> None:
    settings = to_yaml(config)
    write_text_atomic(path, f"{settings}{SETTINGS_SEAL}{digest(settings)}\n")


def other_settings(path: Path, config: RunConfig) -> list[str]:
    """Return how the settings of the run whose `config.yaml` is at `path` differ from these, a setting each.

    Settings that may differ between a run and its continuation do not count, nor do those that are not in use, such as
    another objective's; one that an older run did not know had its default of then.

    Args:
        path: the settings of a run.
        config: the settings now, with the parts that its method sets.

    Raises:
        ArtifactError: the file is missing, damaged, or holds no settings.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: nobody knows the settings of that run; delete its folder")
    before = read_settings(path)
    old, new = (flat(in_use(settings)) for settings in (todays(before), plain(config)))
    return [
        f"{key}: {old.get(key)!r} before, {new.get(key)!r} now"
        for key in sorted({*old, *new})
        if key.split(".")[0] not in FREE_SETTINGS and old.get(key) != new.get(key)
    ]


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a run's `config.yaml`, in today's words, or in one from before there were checksums.

    Raises:
        ArtifactError: the file is no YAML of settings, or not what was written.
    """
    try:
        text = read_text(path)
        settings = parse_yaml(text)
        if not isinstance(settings, dict) or not settings:
            raise ValueError("it holds no settings")
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is not YAML of settings ({error}); {_OF_THIS_RUN}") from error
    whole, found, checksum = text.rpartition(SETTINGS_SEAL)
    if found and digest(whole) != checksum.rstrip("\n"):
        raise ArtifactError(f"{path} is damaged, or was edited: its checksum does not match; {_OF_THIS_RUN}")
    if not found and not _is_whole(text, settings):
        raise ArtifactError(f"{path} is damaged: it was cut, or its last line, the checksum, is gone; {_OF_THIS_RUN}")
    return in_todays_words(settings)


def _is_whole(text: str, settings: Mapping[str, Any]) -> bool:
    """Return whether settings without a checksum are whole: those from before there were any end as all do."""
    last = settings.get("evaluate")
    ends = isinstance(last, dict) and last.keys() >= set(_LAST)
    return ends and settings.keys() >= set(_ALWAYS) and text.endswith("\n") and SETTINGS_SEAL[:8] not in text


def _content(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file, or an empty one if there is none."""
    try:
        found = read_json(path)
    except ArtifactError:
        return {}
    return found if isinstance(found, dict) else {}


def is_run(folder: Path) -> bool:
    """Return whether a folder holds a run, whole or damaged: a file that only runs have is in it."""
    with suppress(OSError, ValueError):
        if SETTINGS_SEAL in read_text(folder / "config.yaml"):
            return True
    known = {"environment.json": {"python", "machine", "packages", "commit"}, "data.json": {"fingerprint", "captions"}}
    if any(_content(folder / name).keys() >= keys for name, keys in known.items()):
        return True
    if _content(folder / "distilled" / "distilled.json").get("format") == FORMAT:
        return True  # the pairs alone were copied, to be measured
    return any("event" in event and "time" in event for event in read_events(folder / "metrics.jsonl"))


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names."""
    if isinstance(values, dict) and values:
        return {k: v for key, inner in values.items() for k, v in flat(inner, f"{prefix}{key}.").items()}
    return {prefix.removesuffix("."): values}
