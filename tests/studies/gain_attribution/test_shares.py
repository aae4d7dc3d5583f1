import pytest
import torch

from pairstill.distilled import DistilledPhase, DistilledSet
from pairstill.evaluate.bootstrap import image_hits
from pairstill.evaluate.retrieval import QueryRanks
from pairstill.studies.gain_attribution.shares import Variant, share_of_gain, shares_of, with_identity

OWNER = torch.arange(100)


def variant(*rates, seed=0):
    """Students of which each recalls a given percentage of queries, the others at no depth; drawn at random."""
    generator, students = torch.Generator().manual_seed(seed), []
    for rate in rates:
        ranks = [
            torch.full((100,), 50).index_fill_(0, torch.randperm(100, generator=generator)[:rate], 0) for _ in "ci"
        ]
        students.append(QueryRanks(*ranks))
    return Variant(tuple(student.recalls.mean for student in students), image_hits(students, OWNER))


def shares(**variants):
    return shares_of(variants, 400, torch.Generator().manual_seed(1))


def test_a_variant_by_hand():
    found = variant(20, 30)
    assert (found.mean, found.spread) == pytest.approx((25, 50**0.5))
    assert found.hits.mean_recall == pytest.approx(25)
    assert variant(20).spread is None


@pytest.mark.parametrize(("without", "share"), [(60.0, 0), (10.0, 100), (35.0, 50), (70.0, -20), (5.0, 110)])
def test_the_share_is_what_is_lost_of_the_gain(without, share):
    assert float(share_of_gain(*map(torch.tensor, (60.0, without, 10.0)))) == pytest.approx(share)


def test_the_shares_of_parts():
    found = shares(
        distilled=variant(70, 70, seed=1),
        random=variant(20, 20, seed=2),
        identity_wbce=variant(60, 60, seed=3),
        identity_infonce=variant(45, 45, seed=4),
        augmented=variant(80, 80, seed=5),
        random_augmented=variant(40, 40, seed=6),
    )
    assert found.gain.recall.value == pytest.approx(50)
    assert found.similarities_wbce.value == pytest.approx(20)
    assert found.similarities_infonce.value == pytest.approx(50)
    assert found.augmented_gain.recall.value == pytest.approx(40)
    # augmented students gain 60 over Random; without augmentation ten of them are lost
    assert found.augmentation.value == pytest.approx(100 / 6)
    for share in (found.similarities_wbce, found.similarities_infonce, found.augmentation):
        assert share.low < share.value < share.high


def test_parts_that_were_not_measured_have_no_share():
    found = shares(distilled=variant(70), random=variant(20, seed=2))
    assert found.gain.is_clear
    assert (found.similarities_wbce, found.similarities_infonce) == (None, None)
    assert (found.augmented_gain, found.augmentation) == (None, None)


@pytest.mark.parametrize("distilled", [20, 21, 5])
def test_without_a_clear_gain_there_is_nothing_to_share(distilled):
    found = shares(distilled=variant(distilled, seed=1), random=variant(20, seed=2), identity_wbce=variant(10, seed=3))
    assert found.similarities_wbce is None and found.gain.recall.low <= 0


def test_the_identity_takes_the_place_of_the_similarities_alone():
    learned = torch.tensor([[0.9, 0.3], [0.1, 0.8]])
    pairs = (torch.ones(2, 3, 4, 4), torch.ones(2, 5))
    phase = DistilledPhase(*pairs, {"matrix": learned}, 0.3, 0.2, ("", ""), ("", ""))
    distilled = DistilledSet((phase,), {}, {}, {}, "wbce")
    (found,) = with_identity(distilled).phases
    assert torch.equal(found.similarity, torch.eye(2)) and found.inner_lr_image == 0.3
    assert found.images is phase.images and with_identity(distilled).loss == "wbce"
    assert torch.equal(distilled.phases[0].similarity, learned)
