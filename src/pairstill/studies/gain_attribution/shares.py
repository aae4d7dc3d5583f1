"""What a method's gain over random real pairs is made of, in the spirit of DD-Ranking (arXiv 2505.13300).

DD-Ranking asks how much of a result is owed to soft labels and to augmentation instead of to the distilled data. Here
students are trained on the same pairs once more without the part in question, and the share of the gain over Random at
equal bytes that is lost then is the part's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import torch
from torch import Tensor

from pairstill.distilled import DistilledSet
from pairstill.evaluate.bootstrap import Difference, Estimate, ImageHits, difference, estimate, resampled_recalls

DISTILLED, RANDOM = "distilled", "random"
IDENTITY_WBCE, IDENTITY_INFONCE = "identity_wbce", "identity_infonce"
AUGMENTED, RANDOM_AUGMENTED = "augmented", "random_augmented"


def with_identity(distilled: DistilledSet) -> DistilledSet:
    """Return the same pairs with the identity in place of the learned similarities, and the loss as it was."""
    return replace(distilled, phases=tuple(replace(phase, similarity_factors={}) for phase in distilled.phases))


@dataclass(frozen=True)
class Variant:
    """The students of one variant.

    Attributes:
        recalls: mean recall of each student on the test split, in percent.
        hits: by image, averaged over the students.
    """

    recalls: tuple[float, ...]
    hits: ImageHits

    @property
    def mean(self) -> float:
        """Mean over students."""
        return fmean(self.recalls)

    @property
    def spread(self) -> float | None:
        """Standard deviation over students, or None for a single one."""
        return stdev(self.recalls) if len(self.recalls) > 1 else None


@dataclass(frozen=True)
class Shares:
    """What the gain is made of; a share is None where the part does not apply or there is no clear gain to share.

    Attributes:
        gain: of the distilled pairs over Random at equal bytes.
        similarities_wbce: share of that gain, in percent, that is lost when students train with the identity in place
            of the learned similarities, all else as learned.
        similarities_infonce: the same when they train with InfoNCE, at rates that validation chooses, as Random does.
        augmented_gain: of the distilled pairs over Random when students of both see augmented images.
        augmentation: share of the gain of augmented students over Random, not augmented, that is lost without
            augmentation.
    """

    gain: Difference
    similarities_wbce: Estimate | None
    similarities_infonce: Estimate | None
    augmented_gain: Difference | None
    augmentation: Estimate | None


def share_of_gain(whole: Tensor, without: Tensor, reference: Tensor) -> Tensor:
    """Return the percentage of the gain over a reference that is lost without a part: (W - P) / (W - R).

    A negative share means that the part did harm, one above 100 that without it nothing was gained.

    Example:
        >>> float(share_of_gain(torch.tensor(30.0), torch.tensor(25.0), torch.tensor(10.0)))
        25.0
    """
    return 100 * (whole - without) / (whole - reference)


def shares_of(variants: Mapping[str, Variant], resamples: int, generator: torch.Generator) -> Shares:
    """Return what the gain is made of.

    Args:
        variants: `distilled` and `random`; and, as far as they apply, `identity_wbce`, `identity_infonce`, and
            `augmented` with `random_augmented`.
        resamples: of the test images, for intervals.
        generator: draws them.
    """
    resampled = resampled_recalls([variant.hits for variant in variants.values()], resamples, generator)
    rows = dict(zip(variants, resampled, strict=True))

    def gain(over: str, of: str) -> Difference | None:
        if of not in variants:
            return None
        return difference(variants[of].mean, variants[over].mean, rows[of], rows[over])

    def share(whole: str, part: str) -> Estimate | None:
        found = gain(RANDOM, whole)
        if part not in variants or found is None or found.recall.low <= 0:
            return None
        values = (torch.tensor(variants[name].mean, dtype=torch.float64) for name in (whole, part, RANDOM))
        return estimate(float(share_of_gain(*values)), share_of_gain(rows[whole], rows[part], rows[RANDOM]))

    whole = gain(RANDOM, DISTILLED)
    assert whole is not None
    return Shares(
        gain=whole,
        similarities_wbce=share(DISTILLED, IDENTITY_WBCE),
        similarities_infonce=share(DISTILLED, IDENTITY_INFONCE),
        augmented_gain=gain(RANDOM_AUGMENTED, AUGMENTED),
        augmentation=share(AUGMENTED, DISTILLED),
    )
