"""Real pairs, chosen by a rule; students train on them with InfoNCE, at rates that validation chooses."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from pairstill.config import MethodConfig, PhaseConfig, TrajectoryConfig
from pairstill.config.checks import require
from pairstill.methods.base import Benchmark, Method
from pairstill.methods.shared import endpoint_of, refuse_late

if TYPE_CHECKING:
    from pairstill.config import RunConfig


@dataclass(frozen=True)
class CoresetConfig(MethodConfig):
    """Settings of a choice of real pairs.

    Attributes:
        num_pairs: pairs that are chosen.
        endpoint: epoch of the teacher whose features are looked at, if teachers keep endpoints alone; otherwise it is
            their last.
    """

    # a setting in place of what other classes compute; nobody sets it after the settings are built
    num_pairs: int = 99  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    endpoint: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_pairs >= 2, f"distill.num_pairs is {self.num_pairs}; InfoNCE needs at least 2")

    @property
    def phases(self) -> tuple[PhaseConfig, ...]:
        """The one phase."""
        return (PhaseConfig(self.num_pairs, range_end=0, endpoint=self.endpoint),)

    @property
    def epochs_read(self) -> frozenset[int]:
        """The epoch whose features are looked at."""
        return frozenset((self.endpoint,))

    def check_in(self, run: "RunConfig") -> None:
        """Refuse an endpoint that the teachers do not reach.

        Raises:
            ConfigError: they do not.
        """
        refuse_late(self.endpoint, run)

    def with_pairs(self, pairs: int) -> Self:
        """Return the settings for another number of pairs."""
        return replace(self, num_pairs=pairs)

    @classmethod
    def of_phases(cls, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Return all pairs of the phases, and the last epoch that the first one reads."""
        epoch = endpoint_of(shared)
        if not shared.get("shortcut", True):
            exclusive = shared.get("range_reading") == "exclusive"
            last = shared["phases"][0].get("range_end", PhaseConfig.range_end) - exclusive
            epoch = last + shared.get("matching_span", TrajectoryConfig.matching_span)
        pairs = sum(phase.get("num_pairs", PhaseConfig.num_pairs) for phase in shared["phases"])
        return {"num_pairs": pairs, "endpoint": epoch}


def _coreset(
    name: str, title: str, source: str, *needs: str, benchmarks: tuple[Benchmark, ...] = ("frozen", "long")
) -> Method:
    rule = name
    assert rule in ("random", "herding", "k_center", "forgetting")
    return Method(
        name,
        title,
        source,
        "chooses real pairs",
        needs,
        CoresetConfig,
        student="chosen_rates",
        all_teachers=False,
        rule=rule,
        benchmarks=benchmarks,
    )


RANDOM = _coreset("random", "Random", "-", benchmarks=())  # it is among the references, drawn anew for every student
HERDING = _coreset("herding", "Herding", "Welling 2009", "teacher")
K_CENTER = _coreset("k_center", "K-Center", "Sener and Savarese 2018", "teacher")
FORGETTING = _coreset("forgetting", "Forgetting", "Toneva et al. 2019", "trajectories")
