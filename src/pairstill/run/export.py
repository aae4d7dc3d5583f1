"""A run's pairs for other tools, with a card, and pairs from elsewhere as a run's own."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pairstill.config import EvaluationProtocol, RunConfig
from pairstill.config.roles import with_role
from pairstill.core.errors import ConfigError, PairstillError
from pairstill.distilled import TENSORS, DistilledSet
from pairstill.evaluate.measurement import measured_as, rates_are_chosen
from pairstill.evaluate.results import made_title, summarise
from pairstill.evaluate.retrieval import few_test_images
from pairstill.exchange.card import CardFacts, card
from pairstill.exchange.folder import is_export_of, open_set, write_export
from pairstill.exchange.png import PngCost, through_png
from pairstill.exchange.public import public, public_encoder, public_name
from pairstill.exchange.settings import WITH_PNG, Layout, Measure
from pairstill.report.tables import markdown
from pairstill.run.context import RunContext
from pairstill.run.description import check_data, encoders
from pairstill.run.evaluate import (
    as_seen,
    current_results,
    distilled_set,
    measure_missing,
    row_name,
    strict_key,
)
from pairstill.run.folder import plain
from pairstill.run.rates import choose_rates, course_on_pairs
from pairstill.storage import digest, file_digest, read_object, write_json

PNG_COST = "png_cost.json"
# where a run computes and where its files lie is nobody else's business
PRIVATE_SETTINGS = with_role(RunConfig, "place", "teachers_place")


@dataclass(frozen=True)
class Export:
    """What is asked of an export.

    Attributes:
        layout: the format.
        out: the folder to make.
        licence: licence of the real pairs, if known.
        measure: whether students measure what PNG costs, in formats that have PNG.
        again: whether an export of the same pairs that lies there is taken as it is.
    """

    layout: Layout
    out: Path
    licence: str | None = None
    measure: Measure = "auto"
    again: bool = False

    @property
    def may_measure(self) -> bool:
        """Whether students may have to be measured, which is kept in the run's folder; else it is only read."""
        return self.layout in WITH_PNG and self.measure != "never"


def export(context: RunContext, asked: Export) -> None:
    """Write the run's pairs in another format, with a dataset card.

    Raises:
        ArtifactError: the run has no distilled set.
        ConfigError: the folder exists already.
        MissingDependencyError: the format needs an optional package.
    """
    distilled = distilled_set(context)
    if asked.again and is_export_of(asked.out, asked.layout, distilled):
        return
    pixels = not distilled.photos and asked.layout in WITH_PNG
    png = _png_cost(context, distilled, asked.measure) if pixels else ""
    results = current_results(context)
    facts = CardFacts(
        method=made_title(context.config),
        source=context.method.source,
        licence=asked.licence,
        results=markdown(summarise(results)) if results else None,
        protocols=context.config.evaluate.protocols,
        png=png,
        caution=few_test_images(context.folder.test_images()),
        local_weights=context.config.image.weights is not None and not context.config.towers,
    )
    write_export(
        distilled, asked.layout, asked.out, card(distilled, asked.layout, facts), public_settings(context.config)
    )


def public_settings(config: RunConfig) -> str:
    """Return the settings as YAML without the paths of this machine, for those who evaluate the pairs elsewhere.

    Of a file or folder that does not belong to the data's root, and of an encoder in a local folder, the last part of
    the path stays.
    """
    settings = _without_folders(plain(config))
    for name in PRIVATE_SETTINGS:
        del settings[name]
    for tower in (settings["image"], *settings["towers"]):
        tower["weights"] = None
        tower["name"] = public_name(tower["name"])
    if config.data.source != "huggingface" or Path(config.data.root or "").exists():
        settings["data"]["root"] = None
    settings["text"]["name"] = public_name(settings["text"]["name"])
    about = "# Give what is missing as options: --data.root, --image.weights, --run_dir\n"
    return about + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def _without_folders(value: Any) -> Any:
    """Return settings in which every absolute path is cut down to its last part."""
    match value:
        case dict():
            return {key: _without_folders(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_without_folders(entry) for entry in value]
        case str() if Path(value).is_absolute() or value.startswith("~"):
            return Path(value).name
        case _:
            return value


def _png_cost(context: RunContext, distilled: DistilledSet, measure: Measure) -> PngCost | str:
    """Return what PNG costs the run's students, or why that is not known."""
    path = context.folder.path / PNG_COST
    # of both protocols, what the first one says is enough
    protocol, students = context.config.evaluate.protocols[0], context.config.evaluate.num_students
    key = digest(
        file_digest(context.folder.distilled / TENSORS),
        measured_as(context.config, row_name(context, "distilled"), protocol),
        str(students),
    )
    if path.is_file() and (known := read_object(path, "key", "cost"))["key"] == key:
        return PngCost.from_json(known["cost"])
    if measure == "never":
        return "it was not asked for"
    if not context.folder.writes:
        context.warn("What PNG costs is not measured: the run's folder cannot be written to")
        return "the run's folder could not be written to"
    try:
        check_data(context, distilled, or_else=", or export with --measure never")
        _ = [tower.evaluator for tower in context.towers]
    except (PairstillError, OSError) as error:
        if measure == "always":
            raise
        context.warn(f"What PNG costs is not measured: {error}")
        return "the real pairs or the towers could not be used"
    for tower in context.towers:
        measure_missing(tower, ("distilled",))
    rounded = through_png(distilled)
    exact, png = list[float](), list[float]()
    with context.counting("Students on PNG images", students * len(context.towers)) as tally:
        for tower in context.towers:
            known = _measured(tower, protocol)
            course = course_on_pairs(tower.config, tower.evaluator, as_seen(tower, rounded))
            choice = choose_rates(tower, course, strict_key(tower, "distilled"))  # as the students of the exact pairs
            for student in range(students):
                outcome = tower.evaluator.measure(course, student, choice)[0]
                exact.append(known[student])
                png.append(round(outcome.recalls.mean, 4))
                tally.advance()
    cost = PngCost(protocol, tuple(exact), tuple(png))
    write_json(path, {"key": key, "cost": cost.to_json()})
    return cost


def _measured(context: RunContext, protocol: EvaluationProtocol) -> dict[int, float]:
    """Return the mean recall of each student of the pairs under a protocol."""
    row = row_name(context, "distilled"), protocol
    results = (result for result in current_results(context) if (result["method"], result["protocol"]) == row)
    return {result["seeds"]["student"]: result["mean_recall"] for result in results}


def adopt(context: RunContext, path: Path) -> DistilledSet:
    """Take a distilled set from elsewhere as the run's own, so that `evaluate` measures it.

    Args:
        context: a run whose folder holds no distilled set, or this one.
        path: an export of any format, a run's folder, or its `distilled` folder.

    Raises:
        ConfigError: the set was made with other encoders, heads or another method than the settings name, or the run
            has another set already.
    """
    given = open_set(path)
    differing = _differences(context, given)
    if differing:
        raise ConfigError(
            f"{path} was made with other settings than these; set them alike (an export's settings.yaml has them, give "
            "local files as --data.root and --image.weights):\n  - " + "\n  - ".join(differing)
        )
    if context.folder.is_distilled():
        if not _same(DistilledSet.load(context.folder.distilled), given):
            raise ConfigError(f"{context.folder.path} holds another distilled set already; choose another run_dir")
        return given
    given.save(context.folder.distilled)
    return given


def _differences(context: RunContext, given: DistilledSet) -> list[str]:
    now: dict[str, Any] = json.loads(json.dumps(encoders(context)))
    found = []
    parts = {part: (dict(getattr(given, part)), now[part]) for part in ("image_encoder", "text_encoder", "heads")}
    for part, (theirs, ours) in parts.items():
        if part != "heads":  # exports do not say where encoders lie
            theirs, ours = public_encoder(theirs), public_encoder(ours)
        found += [
            f"{part} {key}: {theirs.get(key)!r} of the pairs, {ours.get(key)!r} in the settings"
            for key in ours
            if key in theirs and theirs[key] != ours[key]
        ]
    if given.loss == "infonce" and not rates_are_chosen(context.config) and given.info_nce != context.config.info_nce:
        # the learned rates belong to it
        found.append(f"info_nce: {given.info_nce!r} of the pairs, {context.config.info_nce!r} in the settings")
    method = given.provenance.get("method")
    if method not in (None, context.method.name):
        found.append(f"method: {method!r} of the pairs, {context.method.name!r} in the settings")
    return found


def _same(first: DistilledSet, second: DistilledSet) -> bool:
    left, right = first.tensors(), second.tensors()
    return public(first.description()) == public(second.description()) and all(
        bool((left[n] == right[n]).all()) for n in left
    )
