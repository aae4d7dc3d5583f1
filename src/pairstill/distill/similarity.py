"""The learned similarity matrix: full, or low rank as in LoRS."""

import torch
from torch import Tensor

from pairstill.config import SimilarityConfig


def initial_factors(
    config: SimilarityConfig, pairs: int, generator: torch.Generator
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the learned and the constant factors of a similarity that starts at the identity.

    Args:
        config: `full` learns `matrix` (pairs, pairs); `low_rank` learns `weights` (pairs,), `left` and `right`
            (pairs, rank) of diag(weights) + (a/r) left right^T, with left normal, right zero, weights one.
        pairs: number of pairs.
        generator: draws `left`.
    """
    if config.kind == "full":
        return {"matrix": torch.eye(pairs)}, {}
    learned = {
        "weights": torch.ones(pairs),
        "left": torch.randn(pairs, config.rank, generator=generator),
        "right": torch.zeros(pairs, config.rank),
    }
    return learned, {"scale": torch.tensor(config.scale / config.rank)}
