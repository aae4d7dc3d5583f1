"""What a run's files say of it: encoders, heads, data, provenance."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pairstill.core.errors import DataError
from pairstill.core.provenance import commit
from pairstill.distilled import DistilledSet
from pairstill.run.context import RunContext
from pairstill.run.data_facts import describe_data, what_changed
from pairstill.storage import digest


def image_facts(context: RunContext) -> dict[str, Any]:
    """Return the image tower's specification, and which file its features come from, if from one."""
    given = context.given_features
    return {**context.image.spec.to_json(), **({} if given is None else {"features": given.digest})}


def encoders(context: RunContext) -> dict[str, Any]:
    """Return encoders and heads, as the distilled set states them."""
    own = [
        {
            **image_facts(one),
            "trainable": one.config.image.trains,
            "precision": one.config.image.precision,
        }
        for one in context.towers
    ]
    several = {"towers": tuple(own)} if len(own) > 1 else {}
    return {
        "image_encoder": _common(context, own) if several else own[0],
        "text_encoder": context.text.spec.to_json(),
        "heads": asdict(context.config.heads),
        **several,
    }


def _common(context: RunContext, towers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what several image towers have in common, as the specification of one: the space of the pixels."""
    return {
        **asdict(context.pixel_space),
        "name": " + ".join(tower["name"] for tower in towers),
        "digest": digest(*(json.dumps(tower, sort_keys=True) for tower in towers)),
        "trainable": False,
        "precision": context.config.image.precision,
    }


def description(context: RunContext) -> dict[str, Any]:
    """Return encoders, heads, InfoNCE's convention, background and provenance, as the distilled set states them."""
    return {
        **encoders(context),
        "info_nce": context.config.info_nce,
        "background": context.manifest.background,
        "provenance": {
            "method": context.method.name,
            "seed": context.config.distillation_seed,
            "teachers_seed": context.teachers_seed,
            "data": describe_data(context.manifest),
            "distill": asdict(context.config.distill),
            "teacher": asdict(context.config.teacher),
            "commit": commit(),
        },
    }


def check_data(context: RunContext, distilled: DistilledSet, or_else: str = "") -> None:
    """Check that the real pairs are those that a set was made of.

    Args:
        context: the run.
        distilled: the set.
        or_else: what can be done instead of putting the old pairs back, for the message.

    Raises:
        DataError: they are not.
    """
    made_of = distilled.provenance.get("data", {})
    if made_of.get("fingerprint") != context.manifest.fingerprint:
        raise DataError(
            "the real pairs are not those that the distilled set was made of"
            f"{what_changed(made_of, describe_data(context.manifest))}; put the old pairs back{or_else}"
        )
