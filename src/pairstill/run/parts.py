"""Parts of a run that are built once, and which of several image towers a context is of."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from pairstill.config import ImageConfig

T = TypeVar("T")


class Memo:
    """Parts of a run that are built once, by their name and the settings that they were built from."""

    def __init__(self, known: dict[Hashable, Any] | None = None) -> None:
        """Begin with parts that are known already."""
        self._known = dict(known or {})

    def get(self, key: Hashable, build: Callable[[], T]) -> T:
        """Return the part under `key`, built now if it is not there."""
        if key not in self._known:
            self._known[key] = build()
        return self._known[key]

    def with_part(self, key: Hashable, part: Any) -> "Memo":
        """Return a memo that has this part, and all that are here."""
        return Memo({**self._known, key: part})


@dataclass(frozen=True)
class OneOfSeveral:
    """One of the several image towers that a run makes pairs for.

    Attributes:
        number: which of them, from 0.
        images: the settings of all.
    """

    number: int
    images: tuple[ImageConfig, ...]

    @property
    def label(self) -> str:
        """What tells it from the others: its name, with its number from 1 where others have that name too."""
        names = [image.name for image in self.images]
        name = names[self.number]
        return name if names.count(name) == 1 else f"{name} ({self.number + 1})"
