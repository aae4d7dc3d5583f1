"""Attacks by kind: each is a rule that makes files and commands."""

from collections.abc import Callable

from attacks.attack import Attack, Base
from attacks.caches import caches
from attacks.exports import exports
from attacks.names import names
from attacks.pictures import pictures
from attacks.programs import programs
from attacks.runs import runs
from attacks.settings import settings
from attacks.sources import sources
from attacks.weights import weights

ATTACKS: dict[str, Callable[[Base], list[Attack]]] = {
    "sources": sources,
    "pictures": pictures,
    "weights": weights,
    "settings": settings,
    "runs": runs,
    "exports": exports,
    "caches": caches,
    "names": names,
    "programs": programs,
}

__all__ = ["ATTACKS", "Attack", "Base"]
