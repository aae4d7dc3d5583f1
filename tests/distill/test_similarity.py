import pytest
import torch

from pairstill.config import SimilarityConfig
from pairstill.distill.similarity import initial_factors
from pairstill.distilled import compose_similarity


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", ["full", "low_rank"])
def test_the_similarity_starts_at_the_identity(kind):
    learned, constant = initial_factors(SimilarityConfig(kind=kind, rank=2, scale=5.0), 4, draw())
    assert torch.equal(compose_similarity({**learned, **constant}, 4), torch.eye(4))


def test_full_learns_every_entry():
    learned, constant = initial_factors(SimilarityConfig(kind="full"), 4, draw())
    assert {name: value.shape for name, value in learned.items()} == {"matrix": (4, 4)} and constant == {}


def test_low_rank_factors():
    learned, constant = initial_factors(SimilarityConfig(kind="low_rank", rank=200, scale=5.0), 100, draw())
    assert {name: tuple(value.shape) for name, value in learned.items()} == {
        "weights": (100,),
        "left": (100, 200),
        "right": (100, 200),
    }
    assert constant["scale"].item() == pytest.approx(5 / 200)
    # 20,000 draws of a standard normal: five standard errors
    assert abs(learned["left"].mean()) < 5 / 20_000**0.5
    assert learned["left"].std().item() == pytest.approx(1, abs=0.03)
    again, _ = initial_factors(SimilarityConfig(kind="low_rank", rank=200), 100, draw())
    other, _ = initial_factors(SimilarityConfig(kind="low_rank", rank=200), 100, draw(1))
    assert torch.equal(again["left"], learned["left"]) and not torch.equal(other["left"], learned["left"])


def test_low_rank_can_learn_although_one_factor_starts_at_zero():
    learned, constant = initial_factors(SimilarityConfig(kind="low_rank", rank=2), 3, draw())
    for value in learned.values():
        value.requires_grad_()
    (compose_similarity({**learned, **constant}, 3) * torch.randn(3, 3, generator=draw())).sum().backward()
    assert learned["right"].grad.any() and learned["weights"].grad.any() and not learned["left"].grad.any()
