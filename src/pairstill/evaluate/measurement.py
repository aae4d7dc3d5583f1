"""What tells one measurement of a run from another: the row's name and a digest of all that decides its numbers."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from pairstill.config import Protocol, RunConfig
from pairstill.methods import find_method
from pairstill.storage import digest

RANDOM_SELECTED = "random_selected"
"""The row of one draw of random pairs, as `pairstill select` keeps it; `random` draws anew for every student."""


def made_name(config: RunConfig) -> str:
    """Return the name of the row of a run's own pairs."""
    return RANDOM_SELECTED if config.method == "random" else config.method


def rates_are_chosen(config: RunConfig) -> bool:
    """Return whether the pairs come without learned rates, so that validation chooses each student's."""
    return find_method(config.method).rule is not None or config.distill.objective != "trajectory"


def measured_as(config: RunConfig, row: str, protocol: Protocol) -> str:
    """Return a digest of all that may change in a run's folder and decides a row's numbers.

    Args:
        config: the run's settings, with the parts that its method sets.
        row: the name of the row.
        protocol: how it is reported.
    """
    decisive: list[Any] = [protocol]
    if row != "full":
        decisive.append(asdict(config.student))
    if row != made_name(config) or rates_are_chosen(config):
        decisive.append(asdict(config.evaluate.references))
    return digest(json.dumps(decisive))[:16]


def current(config: RunConfig, results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those results of a run that were measured as its settings say now.

    Args:
        config: the run's settings, with the parts that its method sets.
        results: one mapping per student and protocol.
    """
    return [
        result
        for result in results
        if result["protocol"] in config.evaluate.protocols
        and result.get("measured_as") == measured_as(config, result["method"], result["protocol"])
    ]
