"""Real pairs, chosen by a rule; students train on them with InfoNCE, at rates that validation chooses."""

from pairstill.config import DistillConfig, RunConfig
from pairstill.methods.base import Method, without_similarities


def _chosen_pairs(config: RunConfig) -> DistillConfig:
    """Real pairs need no similarities."""
    return without_similarities(config.distill)


def _coreset(name: str, title: str, source: str, *needs: str) -> Method:
    rule = name
    assert rule in ("random", "herding", "k_center", "forgetting")
    return Method(
        name,
        title,
        source,
        "chooses real pairs",
        needs,
        _chosen_pairs,
        student="chosen_rates",
        all_teachers=False,
        rule=rule,
    )


RANDOM = _coreset("random", "Random", "-")
HERDING = _coreset("herding", "Herding", "Welling 2009", "teacher")
K_CENTER = _coreset("k_center", "K-Center", "Sener and Savarese 2018", "teacher")
FORGETTING = _coreset("forgetting", "Forgetting", "Toneva et al. 2019", "trajectories")
