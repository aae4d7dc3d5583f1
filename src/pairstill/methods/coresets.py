"""Real pairs, chosen by a rule; students train on them with InfoNCE, at rates that validation chooses."""

from dataclasses import replace

from pairstill.config import DistillConfig
from pairstill.methods.base import Method, one_phase


def _chosen_pairs(distill: DistillConfig) -> DistillConfig:
    """Real pairs need no similarities, which are worth about one pair more."""
    if distill.loss == "infonce":
        return distill
    return replace(one_phase(distill, more_pairs=1), loss="infonce")


def _coreset(name: str, title: str, source: str, *needs: str) -> Method:
    rule = name
    assert rule in ("random", "herding", "k_center", "forgetting")
    return Method(name, title, source, "chooses real pairs", needs, _chosen_pairs, rule)


RANDOM = _coreset("random", "Random", "-")
HERDING = _coreset("herding", "Herding", "Welling 2009", "teacher")
K_CENTER = _coreset("k_center", "K-Center", "Sener and Savarese 2018", "teacher")
FORGETTING = _coreset("forgetting", "Forgetting", "Toneva et al. 2019", "trajectories")
