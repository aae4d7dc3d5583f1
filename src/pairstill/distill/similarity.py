"""The learned similarity matrix: full, low rank as in LoRS, or none, which is the identity."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pairstill.config import SimilarityConfig
from pairstill.distill.learned import Learned, Variable
from pairstill.distilled import compose_similarity


@dataclass(frozen=True)
class Similarity:
    """The factors of a similarity; without any it is the identity.

    Attributes:
        learned: factors that are learned, as they begin.
        constant: factors that are not.
    """

    learned: Learned = field(default_factory=dict)
    constant: dict[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def initial(config: SimilarityConfig, pairs: int, generator: torch.Generator) -> "Similarity":
        """Return a similarity that starts at the identity.

        Args:
            config: `full` learns `matrix` (pairs, pairs); `low_rank` learns `weights` (pairs,), `left` and `right`
                (pairs, rank) of diag(weights) + (a/r) left right^T, with left normal, right zero, weights one.
            pairs: number of pairs.
            generator: draws `left`.
        """
        if config.kind == "full":
            return Similarity({"matrix": torch.eye(pairs)})
        learned = {
            "weights": torch.ones(pairs),
            "left": torch.randn(pairs, config.rank, generator=generator),
            "right": torch.zeros(pairs, config.rank),
        }
        return Similarity(learned, {"scale": torch.tensor(config.scale / config.rank)})

    def to(self, device: torch.device) -> "Similarity":
        """Return it on a device."""
        moved = ({name: factor.to(device) for name, factor in part.items()} for part in (self.learned, self.constant))
        return Similarity(*moved)

    def variables(self, rate: float) -> dict[str, Variable]:
        """Return the learned factors, under the names that they have among all that is learned."""
        return {_name(factor): Variable(value, rate) for factor, value in self.learned.items()}

    def factors(self, values: Learned) -> dict[str, Tensor]:
        """Return all factors at these values, under their own names."""
        return {**{factor: values[_name(factor)] for factor in self.learned}, **self.constant}

    def matrix(self, values: Learned, pairs: int, device: torch.device) -> Tensor:
        """Return the similarity matrix (pairs, pairs) at these values."""
        return compose_similarity(self.factors(values), pairs, device)


def _name(factor: str) -> str:
    return f"similarity/{factor}"
