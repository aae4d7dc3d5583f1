"""What a gain is made of, for people."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pairstill.core.formatting import with_spread
from pairstill.evaluate.bootstrap import Estimate
from pairstill.studies.gain_attribution.shares import Shares, Variant

TITLES = {
    "distilled": "The pairs as they are",
    "random": "Random at equal bytes",
    "identity_wbce": "The identity for the similarities, wBCE",
    "identity_infonce": "The identity, InfoNCE at rates chosen on validation",
    "augmented": "The pairs, students see crops and flips",
    "random_augmented": "Random, students see crops and flips",
}
HEADER = ["students trained on", "mean recall"]


def variant_cells(name: str, variant: Variant) -> list[str]:
    """Return the cells of a variant, in the order of `HEADER`."""
    return [TITLES[name], with_spread(variant.mean, variant.spread)]


def sentences(shares: Shares, variants: Mapping[str, Variant]) -> list[str]:
    """Return what the shares say, one sentence each, with 95 % intervals over the test images."""
    found = [f"Gain over Random at equal bytes: {_interval(shares.gain.recall)} points"]
    if "identity_wbce" not in variants:
        found.append("The pairs have no soft similarities")
    elif shares.similarities_wbce is None or shares.similarities_infonce is None:
        found.append("There is no clear gain over Random that the similarities could have a share of")
    else:
        found.append(f"Lost without the soft similarities (wBCE): {_interval(shares.similarities_wbce)} % of the gain")
        found.append(
            f"Lost with InfoNCE on the identity instead: {_interval(shares.similarities_infonce)} % of the gain"
        )
    if shares.augmented_gain is None:
        found.append("The image tower is frozen: its students cannot be augmented")
        return found
    found.append(f"Gain when students of both are augmented: {_interval(shares.augmented_gain.recall)} points")
    if shares.augmentation is None:
        found.append("Augmented students have no clear gain over Random that augmentation could have a share of")
    else:
        found.append(f"Of augmented students' gain over Random, augmentation makes {_interval(shares.augmentation)} %")
    return found


def shares_json(shares: Shares, variants: Mapping[str, Variant]) -> dict[str, Any]:
    """Return variants and shares as JSON values."""
    means = {
        name: {"mean": variant.mean, "spread": variant.spread, "students": len(variant.recalls)}
        for name, variant in variants.items()
    }
    return {"protocol": "strict", "variants": means, "shares": asdict(shares)}


def _interval(value: Estimate) -> str:
    return f"{value.value:.1f} [{value.low:.1f}, {value.high:.1f}]"
