import pytest
import torch

from pairstill.config import SimilarityConfig
from pairstill.distill.learned import initial_values
from pairstill.distill.similarity import Similarity
from pairstill.distilled import compose_similarity

CPU = torch.device("cpu")


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", ["full", "low_rank"])
def test_the_similarity_starts_at_the_identity(kind):
    found = Similarity.initial(SimilarityConfig(kind=kind, rank=2, scale=5.0), 4, draw())
    assert torch.equal(found.matrix(initial_values(found.variables(0.1)), 4, CPU), torch.eye(4))


def test_full_learns_every_entry():
    found = Similarity.initial(SimilarityConfig(kind="full"), 4, draw())
    learned, constant = found.learned, found.constant
    assert {name: value.shape for name, value in learned.items()} == {"matrix": (4, 4)} and constant == {}


def test_low_rank_factors():
    found = Similarity.initial(SimilarityConfig(kind="low_rank", rank=200, scale=5.0), 100, draw())
    learned, constant = found.learned, found.constant
    assert {name: tuple(value.shape) for name, value in learned.items()} == {
        "weights": (100,),
        "left": (100, 200),
        "right": (100, 200),
    }
    assert constant["scale"].item() == pytest.approx(5 / 200)
    # 20,000 draws of a standard normal: five standard errors
    assert abs(learned["left"].mean()) < 5 / 20_000**0.5
    assert learned["left"].std().item() == pytest.approx(1, abs=0.03)
    again = Similarity.initial(SimilarityConfig(kind="low_rank", rank=200), 100, draw()).learned
    other = Similarity.initial(SimilarityConfig(kind="low_rank", rank=200), 100, draw(1)).learned
    assert torch.equal(again["left"], learned["left"]) and not torch.equal(other["left"], learned["left"])


def test_low_rank_can_learn_although_one_factor_starts_at_zero():
    found = Similarity.initial(SimilarityConfig(kind="low_rank", rank=2), 3, draw())
    learned, constant = found.learned, found.constant
    for value in learned.values():
        value.requires_grad_()
    (compose_similarity({**learned, **constant}, 3) * torch.randn(3, 3, generator=draw())).sum().backward()
    assert learned["right"].grad.any() and learned["weights"].grad.any() and not learned["left"].grad.any()


def test_without_factors_it_is_the_identity_and_nothing_is_learned():
    assert Similarity().variables(0.1) == {} and torch.equal(Similarity().matrix({}, 3, CPU), torch.eye(3))
