"""Trained students of a run, kept: chosen on the retrieval validation split, for whatever comes after retrieval."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from pairstill.distilled import TENSORS, DistilledSet
from pairstill.evaluate.measurement import measured_as
from pairstill.model.dual_encoder import Parameters
from pairstill.run.context import RunContext
from pairstill.run.description import encoders
from pairstill.run.evaluate import MADE, measure_student, row_name
from pairstill.storage import digest, file_digest, load_tensors, open_tensors, save_tensors


@dataclass(frozen=True)
class ChosenStudent:
    """A student at the epoch, and at the rates, that the retrieval validation split chose.

    Attributes:
        parameters: on the run's device.
        facts: its recalls, epoch and settings, as results state them.
    """

    parameters: Parameters
    facts: dict[str, Any]


def student_key(context: RunContext, method: str) -> str:
    """Return a digest of all that decides the students of a row, whatever their number."""
    decisive: dict[str, Any] = {
        "measured_as": measured_as(context.config, row_name(context, method), "strict"),
        "encoders": encoders(context),
        "data": context.manifest.fingerprint,
        "seed": context.config.seed,
        "teacher": asdict(context.config.teacher),
    }
    if method in MADE:
        decisive["pairs"] = file_digest(context.folder.distilled / TENSORS)
    return digest(json.dumps(decisive, sort_keys=True))[:16]


def chosen_student(context: RunContext, method: str, student: int, distilled: DistilledSet | None) -> ChosenStudent:
    """Return a student, trained now or before; the context must have the protocol `strict`."""
    name = f"{row_name(context, method)}-{student}-{student_key(context, method)}.safetensors"
    path = context.folder.path / "students" / name
    if not path.is_file():
        (outcome,) = measure_student(context, method, student, distilled)
        assert outcome.validation is not None
        facts = {
            "retrieval_mean_recall": round(outcome.recalls.mean, 4),
            "validation_mean_recall": round(outcome.validation, 4),
            "epoch": outcome.epoch,
            "settings": outcome.settings,
        }
        save_tensors(path, outcome.parameters, {"facts": json.dumps(facts)})
    with open_tensors(path) as stored:
        facts = json.loads(stored.metadata()["facts"])
    parameters = {name: value.to(context.device) for name, value in load_tensors(path).items()}
    return ChosenStudent(parameters, facts)
