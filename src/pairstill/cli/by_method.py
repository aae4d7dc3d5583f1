"""Settings of the method that a command line names: which there are, which it fixes, which of a file it takes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from pairstill.config import PhaseConfig, RunConfig, TrajectoryConfig
from pairstill.config.yaml_files import parse_yaml, read_settings
from pairstill.core.errors import ConfigError
from pairstill.methods import METHODS, find_method
from pairstill.methods.base import Method
from pairstill.methods.shared import in_own_words
from pairstill.methods.stored import todays


def is_a_file(values: str) -> bool:
    """Return whether settings are given as a file, which need not be one that can be read, and not as YAML."""
    try:
        return Path(values).exists()
    except (OSError, ValueError):  # too long for a path, or not allowed in one
        return False


def method_of(arguments: Sequence[str]) -> Method:
    """Return the method that a command's arguments name, in an option or a settings file; later ones win.

    Raises:
        ConfigError: there is no such method.
    """
    name = RunConfig.method
    for option, value in _options(arguments):
        if option == "method":
            name = value
        elif option == "config":
            name = _in_file(value) or name
    return find_method(name)


def refuse_options(method: Method, arguments: Sequence[str]) -> None:
    """Refuse options that a method fixes to another value, or that mean nothing to it though they do to others.

    Raises:
        ConfigError: there is one; the message says why it is as it is.
    """
    own = _names(method)
    for name, value in _typed(arguments):
        first = name.partition(".")[0]
        if first not in own and first in _known():
            others = ", ".join(each.name for each in METHODS if first in _names(each))
            budget = "; the pairs and steps are distill.num_pairs and distill.outer_steps" if first == "phases" else ""
            raise ConfigError(
                f"distill.{name} means nothing to method {method.name}{budget}; leave it out, or choose a method that "
                f"has it: {others}"
            )
        for fixed in method.fixed:
            if first == fixed.name and (name != first or value != fixed.value):
                raise ConfigError(
                    f"distill.{name} is {_shown(value)}, but method {method.name} fixes distill.{first} to "
                    f"{_shown(fixed.value)}: {fixed.why}; leave it out, or choose another method"
                )


def for_method(settings: Mapping[str, Any], method: Method) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what a file says to a method, and the dotted names of what it says in vain.

    Files of a benchmark are there for all methods: they hold the settings of the trajectory family. What means nothing
    to the method is left out, and what the method fixes to another value is as the method has it. A setting that no
    method has stays, so that it is found to be wrong.

    Args:
        settings: the file's, by name.
        method: the method.
    """
    distill = settings.get("distill")
    if not isinstance(distill, Mapping):
        return dict(settings), ()
    own, known = _names(method), _known()
    if issubclass(method.settings, TrajectoryConfig):
        found, used = _with_phases(distill), {"num_pairs", "outer_steps"}
    else:
        found = in_own_words(distill, method.settings) | {n: v for n, v in distill.items() if n not in known}
        used = {"phases", *(name.partition(".")[0] for name in method.settings.SHARED.values())}
    found = {name: value for name, value in found.items() if name in own or name not in known}
    vain = [name for name in distill if name in known and name not in own and name not in used]
    vain += [fixed.name for fixed in method.fixed if distill.get(fixed.name, fixed.value) != fixed.value]
    return {**settings, "distill": found}, tuple(f"distill.{name}" for name in vain)


def fixed_settings(method: Method) -> str:
    """Return in a sentence what a method fixes; nothing if that is nothing."""
    fixed = ", ".join(f"distill.{one.name} to {_shown(one.value)}" for one in method.fixed)
    return f" Method {method.name} fixes {fixed}." if fixed else ""


def _with_phases(distill: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that were made for one phase as those of the trajectory family, with as many pairs and steps."""
    budget = {name: distill[name] for name in ("num_pairs", "outer_steps") if name in distill}
    if not budget or "phases" in distill:
        return dict(distill)
    default = {field.name: field.default for field in fields(PhaseConfig)}
    return {**distill, "phases": [{**default, **budget}]}


def _names(method: Method) -> set[str]:
    return {field.name for field in fields(method.settings)}


def _known() -> set[str]:
    return set().union(*map(_names, METHODS))


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the options among arguments with their values, in order."""
    for number, argument in enumerate(arguments):
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            yield name, value if equals else "".join(arguments[number + 1 : number + 2])


def _typed(arguments: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield the settings below `distill` that options give, by their dotted names below it."""
    for option, text in _options(arguments):
        group, _, name = option.partition(".")
        if group != "distill" or name == "help":
            continue
        value: Any = text
        with suppress(ValueError):  # which the parser will refuse
            value = parse_yaml(text)
        if name:
            yield name, value
        elif isinstance(value, Mapping):
            yield from value.items()


def _in_file(value: str) -> str | None:
    """Return the method that settings name, if they do; what is wrong with them is found when they are read."""
    with suppress(ConfigError, ValueError, OSError):
        settings = read_settings(Path(value), todays) if is_a_file(value) else parse_yaml(value)
        if isinstance(settings, Mapping) and isinstance(settings.get("method"), str):
            return settings["method"]
    return None


def _shown(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
