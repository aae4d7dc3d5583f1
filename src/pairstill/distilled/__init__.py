"""The distilled set: what is kept of a large dataset, as safetensors and a JSON manifest."""

from pairstill.distilled.pairs import MANIFEST, TENSORS, DistilledPairs, DistilledSet, stored_pairs
from pairstill.distilled.phase import DistilledPhase, TowerRates, compose_similarity

__all__ = [
    "MANIFEST",
    "TENSORS",
    "DistilledPairs",
    "DistilledPhase",
    "DistilledSet",
    "TowerRates",
    "compose_similarity",
    "stored_pairs",
]
