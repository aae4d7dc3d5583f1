"""Pairs for several frozen towers at once: pixels, texts and similarities in common, rates of each tower's own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from pairstill.config import FeaturesFirstConfig, OuterConfig
from pairstill.distill.features_first import FeatureRange, invert_features
from pairstill.distill.learned import Learned, Pairs, Variable
from pairstill.distill.pairs import IMAGES, Pixels, PlainPairs
from pairstill.distilled import DistilledPhase, TowerRates
from pairstill.events import Emit


@dataclass(frozen=True)
class SharedPairs:
    """The parametrisation of pairs that students of several towers see, each through its own.

    While features are distilled, each tower has features of its own, in place of the common pixels.

    Attributes:
        views: the pairs as each tower has them, two at least, in one order everywhere. Their labels differ; what has
            no label is common, begins with the same values, and moves alike.
    """

    views: tuple[PlainPairs, ...]

    @staticmethod
    def of(pairs: PlainPairs, towers: Sequence[nn.Module]) -> "SharedPairs":
        """Return pairs of common pixels for several towers, whose rates all begin with the same values.

        Args:
            pairs: what is common, and the rates.
            towers: the frozen towers, which take images of the common space.
        """
        numbered = enumerate(towers, start=1)
        return SharedPairs(tuple(replace(pairs, kind=Pixels(t), label=f"/{number}") for number, t in numbered))

    @staticmethod
    def of_photos(pairs: PlainPairs, features: Sequence[Tensor]) -> "SharedPairs":
        """Return pairs of photos that are kept, for several towers, whose rates all begin with the same values.

        Args:
            pairs: what is common, and the rates.
            features: of the photos by each tower, (pairs, width).
        """
        numbered = enumerate(features, start=1)
        return SharedPairs(tuple(replace(pairs, images=own, label=f"/{number}") for number, own in numbered))

    def variables(self) -> dict[str, Variable]:
        """Return what is common, and what each tower has of its own."""
        return {name: variable for view in self.views for name, variable in view.variables().items()}

    def render(self, values: Learned, rows: Tensor | None = None) -> Pairs:
        """Return the pairs as students of the first tower see them; each of the `views` renders them for its own."""
        return self.views[0].render(values, rows)

    def phase(self, values: Learned) -> DistilledPhase:
        """Return the pairs as they are stored: common pixels, and the rates of each tower."""
        stored = [view.phase(values) for view in self.views]
        rates = tuple(TowerRates(phase.inner_lr_image, phase.inner_lr_text) for phase in stored)
        mean = TowerRates.mean(rates)
        return replace(stored[0], inner_lr_image=mean.image, inner_lr_text=mean.text, tower_rates=rates)

    @property
    def towers(self) -> tuple[nn.Module, ...]:
        """The frozen towers that the pixels go through."""
        return tuple(tower for view in self.views for tower in view.towers)

    def on_features(self, config: FeaturesFirstConfig, ranges: Sequence[FeatureRange]) -> "SharedPairs":
        """Return the same pairs with each tower's own features in place of pixels.

        Args:
            config: the rate of the features.
            ranges: what those of each tower are kept in; none leaves them free.
        """
        own = [ranges[number : number + 1] for number in range(len(self.views))]
        return SharedPairs(tuple(view.on_features(config, box) for view, box in zip(self.views, own, strict=True)))

    def inverted(self, values: Learned, config: FeaturesFirstConfig, phase: int, emit: Emit) -> Learned:
        """Return the values that were learned on features with pixels that have the features of all towers at once."""
        names = [IMAGES + view.label for view in self.views]
        wanted = [values[name] for name in names]
        pixels = invert_features(self.towers, self.views[0].images, wanted, config, phase, emit)
        return {IMAGES: pixels, **{name: value for name, value in values.items() if name not in names}}

    def going_on(self, values: Learned, outer: OuterConfig) -> "SharedPairs":
        """Return the parametrisation that begins with these values, at other rates."""
        return SharedPairs(tuple(view.going_on(values, outer) for view in self.views))
