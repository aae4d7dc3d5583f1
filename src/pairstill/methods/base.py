"""What a method is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pairstill.config import MethodConfig, RunConfig, TrajectoryConfig

if TYPE_CHECKING:  # these import torch, and a list of methods shall not take seconds
    from pairstill.distill.coreset import Rule
    from pairstill.distill.recipe import Ingredients, Recipe

StudentRule = Literal["learned_rates", "chosen_rates", "closed_form"]
AUTO, FEATURES = ", auto phases", ", features first"
"""What ends the title of pairs whose phases set themselves, and of those of which most steps were done on features."""
Benchmark = Literal["frozen", "short", "long", "residual", "trainable"]


def match_trajectories(given: "Ingredients", experts: list[Path]) -> "Recipe":
    """Return the recipe of pairs that match the teachers' trajectories."""
    from pairstill.distill.recipe import trajectory_recipe

    if given.config.loop.images == "kept":
        from pairstill.methods.photos import chosen_photos

        return trajectory_recipe(given, experts, chosen_photos(given, experts))
    return trajectory_recipe(given, experts)


@dataclass(frozen=True)
class Fixed:
    """A setting that a method has for itself.

    Attributes:
        name: the setting, below `distill`.
        value: what it is.
        why: why it is that, as the end of a sentence on the method.
    """

    name: str
    value: Any
    why: str


def as_they_are(distill: Any, run: RunConfig) -> Any:
    """Return a method's settings unchanged."""
    return distill


@dataclass(frozen=True)
class Method:
    """A way to a small set of pairs.

    Attributes:
        name: its name in settings, commands and results.
        title: its name in tables.
        source: where it comes from.
        makes: what it makes or learns.
        needs: what must be there: `teacher`, `trajectories`, `features` (a frozen image tower).
        settings: the class of its settings, which `distill` holds.
        fixed: those settings that make it this method.
        follow: sets what follows from other settings of the run, before what is fixed; applied again, it changes
            nothing, since a run's stored settings may be given again.
        recipe: returns what is distilled and for what, from the parts of a run and the files of the teachers, of which
            there are none if it does not need them; it imports what it takes when it is called.
        student: how students learn from the pairs: at `learned_rates`, at `chosen_rates` that validation tells, or so
            and, where heads are linear, in `closed_form` to judge pairs while they are distilled.
        all_teachers: whether it reads all teachers, if any; or else the first alone.
        rule: for a coreset, the rule that chooses the pairs; else None.
        frozen_title: its name in tables where the image tower is frozen, if it is another thing then; else None.
        benchmarks: settings of Flickr8k that it is measured with.
        packages: packages of pairstill's extras that it cannot do without, by the names that they are imported by.
    """

    name: str
    title: str
    source: str
    makes: str
    needs: tuple[str, ...]
    settings: type[MethodConfig] = TrajectoryConfig
    fixed: tuple[Fixed, ...] = ()
    follow: Callable[[Any, RunConfig], Any] = as_they_are
    recipe: "Callable[[Ingredients, list[Path]], Recipe]" = match_trajectories
    student: StudentRule = "learned_rates"
    all_teachers: bool = True
    rule: "Rule | None" = None
    frozen_title: str | None = None
    benchmarks: tuple[Benchmark, ...] = ()
    packages: tuple[str, ...] = ()

    def title_of(self, run: RunConfig) -> str:
        """Return what tables call the pairs of a run: the title, and what else is to be known of how they were made.

        Args:
            run: its settings, as the method has them.

        Example:
            >>> from pairstill.config import AutoPhasesConfig
            >>> from pairstill.methods import find_method
            >>> find_method("ptm_st").title_of(RunConfig(distill=TrajectoryConfig(auto_phases=AutoPhasesConfig())))
            'PTM-ST, auto phases'
        """
        title = self.title if run.image.trains else self.frozen_title or self.title
        if not isinstance(run.distill, TrajectoryConfig):
            return title
        title = title.removesuffix(AUTO).removesuffix(FEATURES)
        on_features = run.distill.features_first.steps > 0
        if run.distill.auto_phases is not None:  # of which most steps are on features, unless the tower is trained
            return title + AUTO + ", on pixels" * (not on_features and not run.image.trains)
        return title + FEATURES * on_features

    @property
    def matches_trajectories(self) -> bool:
        """Whether its pairs are distilled by matching the trajectories of all teachers."""
        return self.rule is None and self.recipe is match_trajectories

    @property
    def one_phase(self) -> bool:
        """Whether all pairs are in one phase, whose settings may say phases for others."""
        return any(fixed.name == "phased" and fixed.value is False for fixed in self.fixed)

    def to_json(self) -> dict[str, Any]:
        """Return what `pairstill methods --json` prints."""
        return {
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "makes": self.makes,
            "needs": list(self.needs),
            "coreset": self.rule is not None,
        }
