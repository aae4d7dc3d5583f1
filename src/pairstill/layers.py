"""Settings files that build on others, so that settings which files share stand once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pairstill.checksums import SETTINGS_SEAL
from pairstill.config import RunConfig
from pairstill.defaults import filled
from pairstill.errors import ConfigError

BASE = "base"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same loader in C where it is there: a row may have six files."""


def read_layers(path: Path, *, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the settings of a YAML file, put on those of the files that its key `base` names.

    `base` is a path relative to the file, or a list of them, of which later ones win. A file that a run stored keeps
    its meaning: what it lacks has the default of then (`defaults.filled`).

    Args:
        path: the file.
        above: the files that build on this one.

    Raises:
        ConfigError: a file is missing, is no mapping in YAML, or builds on itself.

    Example:
        A file `base: ../shared.yaml` with `seed: 3` has the settings of `../shared.yaml`, but for the seed.
    """
    path = path.resolve()
    if path in above:
        raise ConfigError(f"{path} builds on itself, through {' and '.join(f'{file.name}' for file in above)}")
    own = _read(path)
    bases = own.pop(BASE, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(name, str) for name in bases):
        raise ConfigError(f"{path} has the {BASE} {bases!r}; give the path of a file, or a list of them")
    settings: dict[str, Any] = {}
    for name in bases:
        settings = overlay(settings, read_layers(path.parent / name, above=(*above, path)))
    return overlay(settings, own)


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of both; where both have one, that of `above`. Lists are exchanged as a whole.

    Example:
        >>> overlay({"student": {"epochs": 5, "momentum": 0.9}}, {"student": {"epochs": 7}})
        {'student': {'epochs': 7, 'momentum': 0.9}}
    """
    found = dict(below)
    for name, value in above.items():
        known = found.get(name)
        found[name] = overlay(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, _LOADER)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML settings: {error}") from error
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__} at its top; settings are keys with values")
    settings = in_todays_words(content or {})
    return filled(settings, RunConfig()) if _is_stored(path, text) else settings


def _is_stored(path: Path, text: str) -> bool:
    """Return whether a run wrote these settings: they are sealed, or of a run from before there were seals."""
    sealed = text.rstrip().rpartition("\n")[2].startswith(SETTINGS_SEAL)
    return sealed or (path.name == "config.yaml" and path.with_name("environment.json").is_file())


def in_todays_words(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are written today, if they were written when some had other names or values.

    Example:
        >>> in_todays_words({"data": {"normalise_captions": False}})
        {'data': {'captions': 'as_they_are'}}
    """
    data = settings.get("data")
    if not isinstance(data, Mapping) or "normalise_captions" not in data:
        return dict(settings)
    rest = {name: value for name, value in data.items() if name != "normalise_captions"}
    return {**settings, "data": {"captions": "plain" if data["normalise_captions"] else "as_they_are", **rest}}
