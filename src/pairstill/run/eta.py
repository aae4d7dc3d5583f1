"""Where a run stands: which stage of how many, and about how long it will still take."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from pairstill.config import FeaturesFirstConfig, LearnedConfig, PhaseConfig, RunConfig
from pairstill.evaluate.measurement import scales_are_chosen
from pairstill.events import (
    Event,
    InversionStep,
    OuterStep,
    PhasesKnown,
    RatesTried,
    StageBegan,
    StagesPlanned,
    StudentMeasured,
    TeacherEpoch,
    TeachingBegan,
    Validated,
)


class ETA:
    """Counts what a run has to do, hears what it has done, and estimates from both what is left.

    The time of a unit is the mean over those of this sitting: a teacher's epoch, an outer step on pixels or on features
    with its share of the validations, a step that finds the pixels of one image, one training of a student, measured
    or in order to choose rates. A model on all real pairs is taken to need as long as a teacher.
    """

    def __init__(
        self, config: RunConfig, teachers: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Count the units of each stage from the settings.

        Args:
            config: the settings.
            teachers: how many the method reads; None takes all.
            clock: gives seconds.
        """
        self._clock, self._before = clock, clock()
        self._stages: tuple[str, ...] = ()
        self._stage, self._recall = "", None
        self._took: dict[str, list[float]] = {"epoch": [], "features": [], "inversion": [], "pixels": [], "student": []}
        self._protocol = config.evaluate.protocols[0]
        evaluate = config.evaluate
        self._full = evaluate.references.full_epochs or config.teacher.epochs
        towers = len(config.images)  # each has students, and rates, of its own
        trials = {method: evaluate.rate_trials() * scales_are_chosen(config, method) for method in evaluate.methods}
        students = {method: towers * (evaluate.num_students + trials[method]) for method in evaluate.methods}
        self.left = {
            "teach": {"epoch": (config.teacher.num_experts if teachers is None else teachers) * config.teacher.epochs},
            "distill": {},
            "evaluate": {
                "student": sum(count for method, count in students.items() if method not in ("full", "closed_form")),
                "epoch": self._full * students.get("full", 0),
            },
        }
        """Units that are left, by stage and unit."""
        self._steps: list[tuple[int, str, int]] = []
        self._first = FeaturesFirstConfig()
        if isinstance(config.distill, LearnedConfig):
            self._first = config.distill.features_first
            self._count_steps(config.distill.phases)

    def _count_steps(self, phases: Sequence[PhaseConfig]) -> None:
        """Count the outer steps of the phases; again, once phases have set themselves."""
        first = self._first
        self._steps = [
            (number, unit, count)
            for number, phase in enumerate(phases, start=1)
            for unit, count in (
                ("features", first.steps),
                ("inversion", phase.num_pairs * first.inversion_steps if first.steps else 0),
                ("pixels", phase.outer_steps),
            )
        ]
        self.left["distill"] = {unit: self._later(0, unit) for unit in ("features", "inversion", "pixels")}

    def _later(self, at: int, unit: str) -> int:
        """Return how many units of a kind there are from a place in the order of all steps on."""
        return sum(count for _, kind, count in self._steps[at:] if kind == unit)

    def _enter(self, stage: str) -> None:
        """Begin a stage; those before it are over, and one that is not planned is all there is."""
        self._stage, self._before = stage, self._clock()
        if stage not in self._stages:
            self._stages = (stage,)
        for earlier in self._stages[: self._stages.index(stage)]:
            self.left.pop(earlier, None)

    def hear(self, event: Event) -> None:
        """Count an event of the run."""
        match event:
            case StagesPlanned():
                self._stages = event.stages
            case StageBegan():
                self._enter(event.stage)
            case PhasesKnown():
                self._count_steps(event.phases)
            case TeachingBegan():
                self.left["teach"] = {"epoch": event.epochs - event.done + event.later}
            case Validated():
                self._recall = event.validation_mean_recall
                self._took["student"].append(self._clock() - self._before)  # a whole student; the steps share it, too
            case TeacherEpoch():
                self._done("teach", "epoch", 1)
                self._timed("epoch", 1)
            case OuterStep():
                self._stepped(event.phase, event.stage, event.step, event.steps)
            case InversionStep():
                self._stepped(event.phase, "inversion", event.step, event.steps)
            case RatesTried():
                self._trained(event.method)
            case StudentMeasured() if event.protocol == self._protocol:  # or else the same one once more
                self._trained(event.method)
            case _:
                pass

    def _stepped(self, phase: int, unit: str, step: int, steps: int) -> None:
        """Count a step, and take those before it for done, which it may have been in another sitting."""
        at = next(n for n, one in enumerate(self._steps) if one[:2] == (phase, unit))
        self.left["distill"] = {kind: self._later(at + 1, kind) for kind in self.left["distill"]}
        here = self._steps[at][2]
        self.left["distill"][unit] += round(here * (1 - step / steps))
        self._timed(unit, here / steps)  # a step that finds pixels is one for each of several images

    def _trained(self, method: str) -> None:
        """Count a training, unless it is none but solved at once."""
        if method.endswith("closed_form"):
            return
        unit, units = ("epoch", self._full) if method == "full" else ("student", 1)
        self._done("evaluate", unit, units)
        self._timed(unit, units)

    def _timed(self, unit: str, units: float) -> None:
        """Add what so many units took, which are all that was done since the last ones."""
        now = self._clock()
        self._took[unit].append((now - self._before) / units)
        self._before = now

    def _done(self, stage: str, unit: str, count: int) -> None:
        if stage in self.left:
            self.left[stage][unit] = max(0, self.left[stage][unit] - count)

    def seconds_left(self) -> tuple[float, list[str]]:
        """Return the seconds that are left as far as they are known, and the stages of which they are not.

        Of the stage itself counts what is known; a later one counts only where all of it is.
        """
        known, unknown = 0.0, []
        for stage in self._stages[self._stages.index(self._stage) :] if self._stage else ():
            units = {unit: count for unit, count in self.left.get(stage, {}).items() if count}
            timed = {unit: sum(took) / len(took) for unit in units if (took := self._took[unit])}
            if timed.keys() == units.keys() or stage == self._stage:
                known += sum(units[unit] * seconds for unit, seconds in timed.items())
            if timed.keys() != units.keys():
                unknown.append(stage)
        return known, unknown

    def place(self) -> str:
        """Return which stage of how many it is."""
        if not self._stage:
            return ""
        number = f" {self._stages.index(self._stage) + 1} of {len(self._stages)}" if len(self._stages) > 1 else ""
        return f"Stage{number}: {self._stage}"

    def ahead(self) -> str:
        """Return about how long it will still take, as far as that is known."""
        known, unknown = self.seconds_left()
        if round(known) < 1:
            return ""
        later = [stage for stage in unknown if stage != self._stage]
        about = "about" if later == unknown else "at least"  # of this stage itself not everything is known yet
        in_all = " in all" if len(self._stages) > 1 else ""
        what = f", {' and '.join(later)} not counted" if later else in_all
        return f"{about} {timedelta(seconds=round(known))} left{what}"

    def heading(self) -> str:
        """Return where the run stands, in a line."""
        recall = "" if self._recall is None else f"validation recall {self._recall:.1f}"
        return ", ".join(filter(None, (self.place(), recall, self.ahead()))) if self._stage else ""
