"""What tells one measurement of a run from another: the row's name and a digest of all that decides its numbers."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pairstill.config import EvaluationProtocol, ReferencesConfig, RunConfig, StudentConfig
from pairstill.config.defaults import decisive
from pairstill.config.roles import always_counted
from pairstill.evaluate.ledger import Key
from pairstill.methods import find_method
from pairstill.storage import digest

RANDOM_SELECTED = "random_selected"
"""The row of one draw of random pairs, as `pairstill select` keeps it; `random` draws anew for every student."""
ON_DISK = "on_disk"
"""Ends the name of a row whose students saw the pairs as they are read from their smallest files."""
ON_DISK_JPEG = "on_disk_jpeg"
"""Ends the name of a row whose students saw the pairs as they are read from files whose pictures are JPEG."""
READ_FROM_DISK = (ON_DISK, ON_DISK_JPEG)
"""The entries of evaluate.methods whose students see the run's own pairs as they are read from files."""
RANDOM_ON_DISK = "random_on_disk"
"""The row of random photos with captions that take as many bytes on disk as the pairs."""
CLOSED_FORM = "closed_form"
"""Ends the name of a row whose student was solved from the pairs in closed form, not trained on them."""


def made_name(config: RunConfig) -> str:
    """Return the name of the row of a run's own pairs."""
    return RANDOM_SELECTED if config.method == "random" else config.method


def own_title(config: RunConfig) -> str | None:
    """Return the title of the row of a run's own pairs, if that is not its method's; see `Method.title_of`."""
    method = find_method(config.method)
    title = method.title_of(config)
    return None if title == method.title else title


def titled(config: RunConfig, result: dict[str, Any]) -> dict[str, Any]:
    """Return a result of a run with its `title`, if it is of the run's own pairs and that is not their method's."""
    title = own_title(config)
    return {**result, "title": title} if title and result["method"] == made_name(config) else result


def closed_form_name(config: RunConfig) -> str:
    """Return the name of the row of a run's pairs with the student in closed form."""
    return f"{made_name(config)}_{CLOSED_FORM}"


def on_disk_name(config: RunConfig, entry: str = ON_DISK) -> str:
    """Return the name of the row of a run's pairs as they are read from files, by the entry of evaluate.methods."""
    return f"{made_name(config)}_{entry}"


def rates_are_chosen(config: RunConfig) -> bool:
    """Return whether the pairs come without learned rates, so that validation chooses each student's."""
    return find_method(config.method).student != "learned_rates"


def scales_are_chosen(config: RunConfig, entry: str) -> bool:
    """Return whether validation chooses the scales of the rates of an entry of `evaluate.methods`.

    Rates that were learned are scaled only if the settings say so; a student in closed form has none.
    """
    learned = entry in ("distilled", *READ_FROM_DISK) and not rates_are_chosen(config)
    return entry != CLOSED_FORM and (config.evaluate.scale_learned or not learned)


def measured_as(config: RunConfig, row: str, protocol: EvaluationProtocol) -> str:
    """Return a digest of all that may change in a run's folder and decides a row's numbers.

    Args:
        config: the run's settings, with the parts that its method sets.
        row: the name of the row.
        protocol: how it is reported.
    """
    parts: list[Any] = [protocol]
    if row == closed_form_name(config):
        return digest(json.dumps([*parts, config.closed_form.ridges, config.closed_form.width]))[:16]
    if row != "full":
        parts.append(decisive(config.student, always_counted(StudentConfig)))
    own = (made_name(config), *(on_disk_name(config, entry) for entry in READ_FROM_DISK))
    real = row not in own or rates_are_chosen(config)
    if real:
        parts.append(decisive(config.evaluate.references, always_counted(ReferencesConfig)))
    if real or config.evaluate.scale_learned:
        parts.append({"rate_scales": config.evaluate.rate_scales})
    if row == on_disk_name(config, ON_DISK_JPEG):
        parts.append({"jpeg_qualities": config.evaluate.jpeg_qualities})
    return digest(json.dumps(parts))[:16]


def current(config: RunConfig, results: Iterable[dict[str, Any]], pairs: str | None) -> list[dict[str, Any]]:
    """Return those results of a run that were measured as its settings say now, on the pairs that it has now.

    Those of its own pairs have a `title` where that is not the method's. Of several of one student, with one image
    tower, the last counts.

    Args:
        config: the run's settings, with the parts that its method sets.
        results: one mapping per student and protocol. Those of made pairs say which ones with `pairs`; references have
            none, and neither have results of old runs, which count.
        pairs: which pairs the run's folder holds, as `stored_pairs` gives it; None where it holds none, which then
            contradict no result.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for result in results:
        key = Key.of("retrieval", result)
        now = replace(key, measured_as=measured_as(config, key.row, key.protocol), pairs=pairs)
        if key.protocol in config.evaluate.protocols and key.agrees(now):
            found[result.get("tower"), key.row, key.protocol, key.student] = titled(config, result)
    return list(found.values())


def crossed(results: Iterable[dict[str, Any]], pairs: str | None) -> list[dict[str, Any]]:
    """Return the results of students with other encoders on the pairs that a run has now.

    Of one pair of encoders those count that were measured as the last one was, so that no mean is of students that read
    the pairs in several ways, or had rates by several rules.

    Args:
        results: one mapping per student, in the order in which they were measured.
        pairs: which pairs the run's folder holds, as `stored_pairs` gives it; None where it holds none.
    """
    these = [result for result in results if pairs is None or result.get("pairs") in (None, pairs)]
    last = {(result["image"], result["text"]): result.get("measured_as") for result in these}
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for result in these:
        if result.get("measured_as") == last[result["image"], result["text"]]:
            found[result["image"], result["text"], json.dumps(result["seeds"], sort_keys=True)] = result
    return list(found.values())
