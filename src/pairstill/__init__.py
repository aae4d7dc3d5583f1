"""Multimodal dataset distillation: a few hundred synthetic pairs in place of a large image-text set.

The names below are what most programs need. Each is imported when it is first used, so `import pairstill` is quick.

Example:
    >>> import pairstill
    >>> run = pairstill.Run(pairstill.RunConfig(run_dir="runs/first"))  # doctest: +SKIP
    >>> rows = run.run()  # prepare, teach, distill, evaluate: does what is not done yet  # doctest: +SKIP
    >>> pairs = pairstill.load_set("runs/first/distilled")  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairstill.config import RunConfig
    from pairstill.core.errors import PairstillError
    from pairstill.distilled import DistilledPairs, DistilledPhase, DistilledSet
    from pairstill.evaluate.retrieval import Recalls, retrieval_ranks
    from pairstill.exchange.folder import open_set as load_set
    from pairstill.exchange.student import Student, load_student
    from pairstill.methods import METHODS, find_method
    from pairstill.run.export import Export
    from pairstill.run.pipeline import Run

__version__ = "0.1.0"

_HOMES = {
    "DistilledPairs": "pairstill.distilled",
    "DistilledPhase": "pairstill.distilled",
    "DistilledSet": "pairstill.distilled",
    "Export": "pairstill.run.export",
    "METHODS": "pairstill.methods",
    "PairstillError": "pairstill.core.errors",
    "Recalls": "pairstill.evaluate.retrieval",
    "Run": "pairstill.run.pipeline",
    "RunConfig": "pairstill.config",
    "find_method": "pairstill.methods",
    "Student": "pairstill.exchange.student",
    "load_set": "pairstill.exchange.folder:open_set",
    "load_student": "pairstill.exchange.student",
    "retrieval_ranks": "pairstill.evaluate.retrieval",
}
"""Where each public name lives, with its name there where that is another."""

__all__ = [
    "DistilledPairs",
    "DistilledPhase",
    "DistilledSet",
    "Export",
    "METHODS",
    "PairstillError",
    "Recalls",
    "Run",
    "RunConfig",
    "Student",
    "__version__",
    "find_method",
    "load_set",
    "load_student",
    "retrieval_ranks",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pairstill' has no attribute {name!r}; its names are {', '.join(__all__)}")
    home, _, there = _HOMES[name].partition(":")
    found = getattr(import_module(home), there or name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
