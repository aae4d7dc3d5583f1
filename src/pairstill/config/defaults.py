"""Stored settings by what they mean: one that is missing has its default, or what its default was before.

So a new setting, as long as nobody sets it, makes no older run, teacher or result another one. Settings that people
write are not read so: what they leave out has today's default.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from pairstill.config.changed import before


def filled(values: Mapping[str, Any], default: Any) -> dict[str, Any]:
    """Return stored settings as JSON values, with what each that is missing meant in its place, on every level.

    Args:
        values: JSON values by name, as they were stored.
        default: the dataclass of these settings, with its default values.

    Example:
        >>> from pairstill.config import ScenesConfig
        >>> filled({"train": 9, "old": 1}, ScenesConfig())
        {'train': 9, 'old': 1, 'val': 200, 'test': 300, 'size': 32, 'seed': 0}
    """
    found, plain = dict(values), json.loads(json.dumps(asdict(default)))
    for name, standard, field in ((field.name, getattr(default, field.name), field) for field in fields(default)):
        given = values.get(name)
        if is_dataclass(standard) and isinstance(given, Mapping | None):
            found[name] = filled(given or {}, standard)
        elif isinstance(standard, tuple) and standard and is_dataclass(standard[0]) and isinstance(given, list):
            found[name] = [filled(entry, standard[0]) if isinstance(entry, Mapping) else entry for entry in given]
        elif name not in values:
            found[name] = before(field, plain[name])
    return found


SWITCHES = {"features_first": "steps", "rate_trials": "steps"}
"""Groups of settings that mean nothing while one of them, named here, is 0."""


def in_use(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as JSON values without those of groups that mean nothing, on every level.

    Example:
        >>> in_use({"features_first": {"steps": 0, "in_range": True}, "ema": True})
        {'features_first': {'steps': 0}, 'ema': True}
    """
    found: dict[str, Any] = {}
    for name, inner in values.items():
        switch = SWITCHES.get(name)
        if not isinstance(inner, Mapping):
            found[name] = inner
        elif switch is not None and not inner.get(switch):
            found[name] = {switch: inner.get(switch)}
        else:
            found[name] = in_use(inner)
    return found


def decisive(settings: Any, always: Collection[str] = ()) -> dict[str, Any]:
    """Return the settings that a digest should depend on: those that are not what a stored one without them meant.

    Args:
        settings: a dataclass all of whose fields have defaults.
        always: fields that count in any case, such as those that an older digest was made of.
    """
    standard = asdict(type(settings)())
    meant = {field.name: before(field, standard[field.name]) for field in fields(settings)}
    return {name: v for name, v in asdict(settings).items() if name in always or v != meant[name]}
