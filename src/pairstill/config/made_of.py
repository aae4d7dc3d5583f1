"""Settings of what pairs are made of where that is real: photos that are kept, and captions that are mixed."""

from dataclasses import dataclass
from typing import Literal

from pairstill.config.checks import require, require_positive


@dataclass(frozen=True)
class PhotosConfig:
    """Which photos are kept.

    Attributes:
        choose: `random` draws them. The others go by the joint features of the first teacher after the epoch that the
            first phase ends at: `herding` follows their mean, `k_means` takes the pair nearest to the centre of each of
            as many clusters as there are pairs, `matching` adds group after group, each the one of
            `proposals` random groups with which real pairs match the teachers' trajectories best.
        proposals: random groups that `matching` tries for each group.
        groups: groups that `matching` adds, as far as there are pairs for them.
    """

    choose: Literal["random", "herding", "k_means", "matching"] = "random"
    proposals: int = 8
    groups: int = 10

    def __post_init__(self) -> None:
        require_positive("distill.photos", proposals=self.proposals, groups=self.groups)


@dataclass(frozen=True)
class MixtureConfig:
    """Which captions a text is made of.

    Attributes:
        captions: at most so many in each text.
        candidates: real captions that each text begins with: its own, and the nearest to it by the text encoder.
        lr_weights: outer rate of the weights, which begin with 1 for its own caption and 0 for the others.
    """

    captions: int = 8
    candidates: int = 8
    lr_weights: float = 0.02

    def __post_init__(self) -> None:
        require_positive("distill.mixture", captions=self.captions, lr_weights=self.lr_weights)
        require(
            self.candidates >= self.captions,
            f"distill.mixture.candidates is {self.candidates}, fewer than the {self.captions} captions of a text; "
            "raise it",
        )
