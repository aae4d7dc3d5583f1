"""Folders of trajectories that several runs use: they say whose they are, and are found again by that."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pairstill.config import HeadsConfig, ImageConfig, RunConfig, TeacherConfig
from pairstill.config.changed import meant
from pairstill.config.defaults import decisive, filled
from pairstill.config.roles import with_role
from pairstill.core.errors import ArtifactError, ConfigError
from pairstill.storage import digest, read_sealed, write_sealed
from pairstill.storage.locks import exclusive
from pairstill.storage.owned import content_of, refuse_others
from pairstill.teachers.trajectory import SHARED

ABOUT = "teachers.json"
# Raise it when the same settings train other teachers than before, so that old ones are not found any more.
_VERSION = 1
_OWN = with_role(TeacherConfig, "extent")  # how many teachers there are and what is stored of them: not what they are
_LOSS = with_role(RunConfig, "loss")  # settings of the run itself that teachers depend on
_IMAGE = with_role(ImageConfig, "model")  # the rest of the image tower's settings is in its specification


def describe_teachers(
    config: RunConfig, data: str, image_encoder: Mapping[str, Any], text_encoder: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything that decides what the teachers are, as JSON values.

    Args:
        config: the run's settings.
        data: fingerprint of the real pairs.
        image_encoder: specification of the image tower.
        text_encoder: specification of the text tower.
    """
    teacher = {name: value for name, value in asdict(config.teacher).items() if name not in _OWN}
    image = {name: getattr(config.image, name) for name in _IMAGE}
    settings = {
        "seed": config.teachers_seed,
        "heads": asdict(config.heads),
        "image": image,
        "teacher": teacher,
        "info_nce": config.info_nce,
    }
    described = {"data": data, "image_encoder": image_encoder, "text_encoder": text_encoder, "settings": settings}
    return json.loads(json.dumps(described))


def find_folder(root: Path, config: RunConfig, teachers: Mapping[str, Any], kept: Collection[int]) -> Path:
    """Return the folder below `root` for these teachers: one that holds the snapshots, or else a new one.

    Teachers are never written over: those that keep other snapshots get a folder of their own, so that a run that
    reads them is not disturbed.

    Args:
        root: the shared folder of all teachers.
        config: the run's settings, which `teachers` was made of.
        teachers: everything that decides what the teachers are; see `describe_teachers`.
        kept: the snapshots that are needed.
    """
    place = root / _key(config, teachers)
    known = [folder for folder in sorted(place.glob("*")) if holds(folder, teachers, kept)]
    new = place / f"epochs_{_ranges(kept)}"
    return max(known, key=lambda folder: len(list(folder.glob("expert_*.safetensors"))), default=new)


def _key(config: RunConfig, teachers: Mapping[str, Any]) -> str:
    settings = {
        "seed": config.teachers_seed,
        "heads": decisive(config.heads),
        "image": {name: value for name, value in decisive(config.image).items() if name in _IMAGE},
        "teacher": {name: value for name, value in decisive(config.teacher).items() if name not in _OWN},
        **{name: value for name, value in decisive(config).items() if name in _LOSS},
    }
    content = json.dumps({**teachers, "settings": settings}, sort_keys=True)
    return digest(str(_VERSION), content)[:24]


def holds(folder: Path, teachers: Mapping[str, Any], kept: Collection[int]) -> bool:
    """Return whether a folder is there, whole, and holds these snapshots of these teachers."""
    try:
        claim_folder(folder, teachers, kept, make=False)
    except (ArtifactError, ConfigError):
        return False
    return True


def _ranges(numbers: Collection[int]) -> str:
    """Return numbers in short.

    Example:
        >>> _ranges([8, 1, 2, 3, 6])
        '1-3_6_8'
    """
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return "_".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def claim_folder(
    folder: Path, teachers: Mapping[str, Any], kept: Collection[int], *, make: bool = True
) -> tuple[int, ...]:
    """Write down whose trajectories a folder holds, or check that it holds those that are asked for.

    Args:
        folder: the folder.
        teachers: everything that decides what the teachers are, as JSON values; see `describe_teachers`.
        kept: the snapshots that are needed.
        make: whether the folder is made if it does not exist; otherwise that is an error.

    Returns:
        The snapshots that the folder keeps of every teacher: those needed, and perhaps more.

    Raises:
        ConfigError: the folder holds other teachers, or too few of their snapshots, or no teachers but something else.
        ArtifactError: what the folder says of itself is missing or damaged.
    """
    about, asked = folder / ABOUT, json.loads(json.dumps(teachers))
    if make and not about.is_file():
        refuse_others(folder, "teachers", "trajectories_dir", _holds_only_experts)
        with exclusive(folder, lambda holder: None):
            if not about.is_file():  # nor has another process claimed it meanwhile
                write_sealed(about, {**asked, "kept": sorted(kept)})
                return tuple(sorted(kept))
    found = read_sealed(about)
    if not isinstance(found.get("kept"), list):
        raise ArtifactError(f"{about} is damaged; delete the folder, and its teachers are trained again")
    snapshots = found.pop("kept")
    differing = ", ".join(key for key in asked if _meant(found).get(key) != _meant(asked)[key])
    if differing:
        raise ConfigError(
            f"{folder} holds other teachers than these settings train ({differing} differ, see {ABOUT}); choose "
            "another trajectories_dir"
        )
    if not set(kept) <= set(snapshots):
        raise ConfigError(
            f"{folder} holds the snapshots {snapshots} of its teachers, but {sorted(kept)} are needed; choose another "
            "trajectories_dir, or train them with teacher.keep=all"
        )
    return tuple(snapshots)


def _holds_only_experts(folder: Path) -> bool:
    """Return whether all in a folder is named as teachers' files are; what says whose they are may be gone."""
    return all(name in (SHARED, ABOUT) or re.fullmatch(r"expert_\d+\.safetensors", name) for name in content_of(folder))


def _meant(teachers: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the teachers with the default of every setting that it does not name."""
    settings = teachers.get("settings")
    if not isinstance(settings, Mapping):
        return dict(teachers)
    parts = {"heads": HeadsConfig(), "image": ImageConfig(), "teacher": TeacherConfig()}
    full = {name: filled(settings.get(name, {}), default) for name, default in parts.items()}
    image = {name: full["image"][name] for name in _IMAGE}
    teacher = {name: value for name, value in full["teacher"].items() if name not in _OWN}
    own = {"heads": full["heads"], "image": image, "teacher": teacher}
    return {**teachers, "settings": {**{name: meant(RunConfig, name) for name in _LOSS}, **settings, **own}}
