"""What the settings of all methods have in common: each method has its own class of them, in the field `distill`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pairstill.config.checks import require
from pairstill.config.evaluate import ClosedFormConfig
from pairstill.config.phases import PhaseConfig

if TYPE_CHECKING:
    from pairstill.config.run import RunConfig


@dataclass(frozen=True)
class MethodConfig:
    """Settings of a method.

    Attributes:
        batch_size: pairs in a mini-batch of students, unless `student.batch_size` says another number.
    """

    SHARED: ClassVar[Mapping[str, str]] = {}
    """Own settings that stand under another name in settings of the trajectory family, by their own name."""

    batch_size: int = 20

    def __post_init__(self) -> None:
        require(self.batch_size >= 2, f"distill.batch_size is {self.batch_size}; it must be at least 2")

    @property
    def num_pairs(self) -> int:
        """Pairs over all phases."""
        raise NotImplementedError

    @property
    def phases(self) -> tuple[PhaseConfig, ...]:
        """The phases, in order."""
        raise NotImplementedError

    @property
    def loss(self) -> Literal["wbce", "infonce"]:
        """Loss of the students."""
        return "infonce"

    @property
    def epochs_read(self) -> frozenset[int]:
        """Epochs of the teachers that are read where teachers keep no others."""
        return frozenset()

    @property
    def closed_form(self) -> ClosedFormConfig | None:
        """How students are solved from the pairs, if the pairs were made for one way; else None."""
        return None

    def check_in(self, run: "RunConfig") -> None:
        """Refuse settings that do not go with others of the run.

        Raises:
            ConfigError: they do not.
        """

    def with_pairs(self, pairs: int) -> Self:
        """Return the settings for another number of pairs, where they are one set and not several phases."""
        raise NotImplementedError

    def at_scale(self, large: "MethodConfig", scaled: Callable[[int], int]) -> Self:
        """Return these settings, of a small base, with what grows with the number of pairs taken from a large row.

        Args:
            large: settings of the same class, of the row.
            scaled: returns the number of pairs of the base that stands for a number of the row's.
        """
        return self

    def at_length(self) -> Self:
        """Return the settings at the length of the method's own paper, where those of a benchmark do not fit it."""
        return self

    @classmethod
    def of_phases(cls, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the phases in settings of the trajectory family mean here: settings by name, as plain values.

        Args:
            shared: plain values by name, with `phases`.
        """
        raise NotImplementedError
