"""YAML of settings, read within bounds, and files that build on others, so that what they share stands once."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from pairstill.config import RunConfig
from pairstill.core.errors import ConfigError
from pairstill.storage.checksums import SETTINGS_SEAL

BASE = "base"
Reader = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Makes of settings that a run stored, in whatever version, all of today's."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same loader in C where it is there: a row may have six files."""
_BESIDE = {"config.yaml": "environment.json", "settings.yaml": "pairstill.json"}
"""What lies beside the settings of a run, and of an export."""
MOST_CHARACTERS, MOST_VALUES, MOST_LEVELS = 4_000_000, 100_000, 50


def read_settings(path: Path, stored: Reader, *, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the settings of a YAML file, put on those of the files that its key `base` names.

    `base` is a path relative to the file, or a list of them, of which later ones win. A file that a run stored keeps
    its meaning: what it lacks has the default of then.

    Args:
        path: the file.
        stored: reads settings that a run stored.
        above: the files that build on this one.

    Raises:
        ConfigError: a file is missing, is no mapping in YAML, or builds on itself.

    Example:
        A file `base: ../shared.yaml` with `seed: 3` has the settings of `../shared.yaml`, but for the seed.
    """
    path = path.resolve()
    if path in above:
        raise ConfigError(f"{path} builds on itself, through {' and '.join(f'{file.name}' for file in above)}")
    own = _read(path, stored)
    bases = own.pop(BASE, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(name, str) for name in bases):
        raise ConfigError(f"{path} has the {BASE} {bases!r}; give the path of a file, or a list of them")
    settings: dict[str, Any] = {}
    for name in bases:
        settings = overlay(settings, read_settings(path.parent / name, stored, above=(*above, path)))
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


def plain(config: RunConfig) -> dict[str, Any]:
    """Return the settings as JSON values."""
    return json.loads(json.dumps(asdict(config)))


def to_yaml(config: RunConfig) -> str:
    """Return the settings as YAML that `pairstill run --config` reads back."""
    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text without tags of Python.

    Raises:
        ValueError: it is no YAML, or larger or nested deeper than settings are, with what its aliases stand for.
    """
    try:
        check_yaml(text)
        return yaml.load(text, _LOADER)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from error


def check_yaml(text: str) -> None:
    """Refuse a YAML text that is larger or nested deeper than settings are, before anything is made of it.

    An alias counts as much as what it stands for: nine lines of aliases to aliases may stand for billions of values.

    Raises:
        ValueError: it is; `yaml.YAMLError`: it is no YAML.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters; settings have at most {MOST_CHARACTERS:,}")
    anchors: dict[str, tuple[int, int]] = {}  # values and levels of what each stands for
    opened: list[tuple[str | None, int, int]] = [(None, 0, 0)]
    for event in yaml.parse(text, _LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, 1, 1))
            _refuse_large(0, len(opened))
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, values, levels = opened.pop()
        elif isinstance(event, yaml.ScalarEvent):
            anchor, values, levels = event.anchor, 1, 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise ValueError(f"the alias *{event.anchor} stands for nothing, or for what it is in")
            anchor, (values, levels) = None, anchors[event.anchor]
        else:
            continue
        if anchor is not None:
            anchors[anchor] = (values, levels)
        above, own, deepest = opened[-1]
        opened[-1] = (above, own + values, max(deepest, levels + 1))
        _refuse_large(own + values, levels + len(opened))


def _refuse_large(values: int, levels: int) -> None:
    if values > MOST_VALUES or levels > MOST_LEVELS:
        raise ValueError(
            f"it holds more than {MOST_VALUES:,} values, or is nested deeper than {MOST_LEVELS} levels, with what its "
            "aliases stand for; settings are smaller"
        )


def _read(path: Path, stored: Reader) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        if (size := path.stat().st_size) > 4 * MOST_CHARACTERS:
            raise ValueError(f"it has {size:,} bytes; settings have at most {MOST_CHARACTERS:,} characters")
        text = path.read_text(encoding="utf-8")
        content = parse_yaml(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as YAML settings: {error}") from error
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__} at its top; settings are keys with values")
    settings = in_todays_words(content or {})
    return stored(settings) if _is_stored(path, text) else settings


def _is_stored(path: Path, text: str) -> bool:
    """Return whether a run wrote these settings: they are sealed, exported, or from before there were seals."""
    sealed = text.rstrip().rpartition("\n")[2].startswith(SETTINGS_SEAL)
    beside = _BESIDE.get(path.name)
    return sealed or (beside is not None and path.with_name(beside).is_file())


def in_todays_words(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are written today, if they were written when some had other names or values.

    Example:
        >>> in_todays_words({"data": {"normalise_captions": False}})
        {'data': {'captions': 'as_they_are'}}
    """
    found = dict(settings)
    data = settings.get("data")
    if isinstance(data, Mapping) and "normalise_captions" in data:
        rest = {name: value for name, value in data.items() if name != "normalise_captions"}
        found["data"] = {"captions": "plain" if data["normalise_captions"] else "as_they_are", **rest}
    if isinstance(settings.get("distill"), Mapping):
        # the method says what its objective is
        distill = {name: value for name, value in settings["distill"].items() if name != "objective"}
        projector = distill.get("projector")
        if isinstance(projector, Mapping) and "ridge" in projector:
            rest = {name: value for name, value in projector.items() if name != "ridge"}
            distill["projector"] = {"ridges": [projector["ridge"]], **rest}
        found["distill"] = distill
    if isinstance(settings.get("evaluate"), Mapping):
        found["evaluate"] = _with_one_grid(settings["evaluate"])
    return found


def _with_one_grid(evaluate: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of `evaluate` with the one grid of rates that there is for references and other encoders alike.

    There was one for each; that of the references stays, which every table needs.
    """
    found = dict(evaluate)
    if "rate_scales" in found:
        return found
    for group in ("cross", "references"):  # the last one wins
        inner = found.get(group)
        if isinstance(inner, Mapping) and "rate_scales" in inner:
            found["rate_scales"] = inner["rate_scales"]
            found[group] = {name: value for name, value in inner.items() if name != "rate_scales"}
    return found
