"""Settings that a run stored, in whatever version, as they are stored today."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from pairstill.config import ClosedFormConfig, RunConfig, TrajectoryConfig
from pairstill.config.defaults import filled
from pairstill.config.yaml_files import in_todays_words
from pairstill.methods import find_method
from pairstill.methods.shared import in_own_words

OTHERS = ("projector", "characteristic")
"""Objectives whose settings stood in those of every method."""


def todays(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that a run stored as today's: all of them, as plain values.

    What they lack has the default of then. Those of before each method had its own held the trajectory family's and all
    objectives' settings; a method has those that mean anything to it.

    Args:
        stored: plain values by name.

    Raises:
        ConfigError: they are of a method that there is not.
    """
    words = in_todays_words(stored)
    kind = find_method(words.get("method", RunConfig.method)).settings
    found = filled({**words, "distill": {}}, RunConfig())
    distill = words.get("distill") or {}
    projector = distill.get("projector")
    if issubclass(kind, TrajectoryConfig):
        own = {name: value for name, value in filled(distill, TrajectoryConfig()).items() if name not in OTHERS}
    else:
        if "phases" in distill:
            distill = in_own_words(filled(distill, TrajectoryConfig()), kind)
        own = filled(distill, kind())
    if isinstance(projector, Mapping) and not any(field.name == "projector" for field in fields(kind)):
        form = {name: projector[name] for name in ("ridges", "width") if name in projector}
        form = {**json.loads(json.dumps(asdict(ClosedFormConfig()))), **form}
        given = (words.get("evaluate") or {}).get("closed_form")
        found["evaluate"] = {**found["evaluate"], "closed_form": given or form}
    return {**found, "distill": own}
