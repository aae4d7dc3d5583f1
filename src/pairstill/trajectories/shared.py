"""A folder of trajectories that several runs use: it says whose they are."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pairstill.errors import ConfigError
from pairstill.storage import read_json, write_json

ABOUT = "teachers.json"


def claim_folder(folder: Path, teachers: Mapping[str, Any], kept: Collection[int]) -> None:
    """Write down whose trajectories a folder holds, or check that it holds those that are asked for.

    Args:
        folder: the folder; made if it does not exist.
        teachers: everything that decides what the teachers are, as JSON values.
        kept: the snapshots that are needed.

    Raises:
        ConfigError: the folder holds other teachers, or too few of their snapshots.
    """
    about, asked = folder / ABOUT, json.loads(json.dumps(teachers))
    if not about.is_file():
        write_json(about, {**asked, "kept": sorted(kept)})
        return
    found = read_json(about)
    snapshots = found.pop("kept")
    if found != asked:
        differing = ", ".join(key for key in asked if found.get(key) != asked[key])
        raise ConfigError(
            f"{folder} holds other teachers than these settings train ({differing} differ, see {ABOUT}); choose "
            "another trajectories_dir"
        )
    if not set(kept) <= set(snapshots):
        raise ConfigError(
            f"{folder} holds the snapshots {snapshots} of its teachers, but {sorted(kept)} are needed; choose another "
            "trajectories_dir, or train them with teacher.keep=all"
        )
