"""The scales of the rates that a run's students train at: chosen once for each set, and kept."""

from dataclasses import replace
from pathlib import Path

from pairstill.config import RunConfig
from pairstill.core.errors import ArtifactError
from pairstill.distilled import DistilledSet
from pairstill.evaluate.ledger import Key
from pairstill.evaluate.measurement import rates_are_chosen
from pairstill.evaluate.protocol import Evaluator
from pairstill.evaluate.rates import Course, F, RateChoice, Scales, Trial, trial_of
from pairstill.events import Notice, RatesTried
from pairstill.run.context import RunContext
from pairstill.storage import read_object, write_json


def course_on_pairs(config: RunConfig, evaluator: Evaluator, distilled: DistilledSet) -> Course:
    """Return how students learn from a set of pairs, by the rule of the run's method."""
    return evaluator.at_teachers_rates(distilled) if rates_are_chosen(config) else evaluator.of_pairs(distilled)


def choose_rates(context: RunContext, course: Course, key: Key) -> RateChoice:
    """Return the scales of the rates of a row's students, chosen now or before.

    Every trial is kept as soon as it is done, so that a choice that was interrupted goes on.

    Args:
        context: the run, with the students' encoders.
        course: what they learn from.
        key: what tells any of the row's students from those of others.

    Raises:
        NumericalError: students diverged at all scales.
        ArtifactError: what was kept is damaged.
    """
    name = replace(key, protocol="strict", student=None).file_name
    path = context.folder.rates / f"{name}.json"
    known = {trial.scales: trial for trial in stored_trials(path, Scales)}
    before = len(known)

    def recall(scales: Scales) -> float | None:
        if scales not in known:
            known[scales] = trial = Trial(scales, context.evaluator.try_scales(course, scales))
            tower = None if context.one_of is None else context.one_of.label
            context.emit(RatesTried(method=key.row, tower=tower, **vars(scales), validation_mean_recall=trial.recall))
            if context.folder.writes:
                write_json(path, RateChoice(Scales(), tuple(known.values())).to_json())
        return known[scales].recall

    choice = context.evaluator.choose(course, recall)
    if len(known) > before:
        scales, tried = choice.scales, choice.rates_tried
        said = f"Rates of {key.row}: the image side's times {scales.image:g}, the text side's times {scales.text:g}"
        context.emit(Notice(text=f"{said}, which validation chose of {tried}", quiet=True))
    return choice


def stored_trials(path: Path, kind: type[F]) -> list[Trial[F]]:
    """Return the trials that a file states, with scales of a kind; no file has none.

    Raises:
        ArtifactError: it is damaged.
    """
    if not path.is_file():
        return []
    try:
        return [trial_of(stored, kind) for stored in read_object(path, "trials")["trials"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged; delete it, and the rates are chosen anew") from error
