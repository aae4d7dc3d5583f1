"""What an analysis keeps while it works, so that it can be killed at any moment and goes on."""

from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any

from pairstill.config import RunConfig
from pairstill.config.defaults import filled
from pairstill.config.roles import with_role
from pairstill.storage import read_object, write_json

ABOUT = "about.json"
# a run may change its students; here they are part of what is measured
_PLACES = with_role(RunConfig, "place", "teachers_place")


def work_folder(folder: Path, run: Mapping[str, Any], about: Mapping[str, Any]) -> Path:
    """Return the folder of unfinished and finished parts, emptied if what is there was measured otherwise.

    Args:
        folder: the analysis's folder.
        run: the run's settings, as JSON values.
        about: all else that decides the parts' values, as JSON values.
    """
    work = folder / "work"
    asked = {"run": _decisive(run), **about}
    if (work / ABOUT).is_file():
        found = read_object(work / ABOUT, "run")
        if {**found, "run": _decisive(found["run"])} == asked:
            return work
    rmtree(work, ignore_errors=True)
    write_json(work / ABOUT, asked)
    return work


def _decisive(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide what is measured; one that is missing has its default."""
    return {name: value for name, value in filled(run, RunConfig()).items() if name not in _PLACES}
