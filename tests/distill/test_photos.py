import pytest
import torch

from pairstill.core.errors import DataError
from pairstill.distill.learned import initial_values
from pairstill.distill.pairs import IMAGES, Kept
from pairstill.distill.photos import dealt, greedily, nearest_to_centres


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_pair_nearest_to_each_centre_is_chosen():
    # centres 0.1, 5.3 and 9: the rows nearest to them
    points = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.4], [5.5], [9.0]])
    assert sorted(nearest_to_centres(points, 3, seed=0).tolist()) == [1, 4, 6]


def test_clusters_that_are_empty_leave_no_place_empty():
    points = torch.zeros(6, 2)
    chosen = nearest_to_centres(points, 4, seed=0)
    assert len(set(chosen.tolist())) == 4


def test_greedy_choice_lowers_the_loss_and_takes_no_row_twice():
    # the loss is the sum of the chosen rows: small numbers win
    tried = []

    def loss(rows):
        tried.append(len(rows))
        return float(rows.sum())

    chosen = greedily(60, 8, groups=4, proposals=20, loss=loss, generator=draw())
    assert len(set(chosen.tolist())) == 8
    assert tried == [2] * 20 + [4] * 20 + [6] * 20 + [8] * 20
    drawn = greedily(60, 8, groups=4, proposals=1, loss=loss, generator=draw())
    assert chosen.sum() < drawn.sum()
    assert len(greedily(5, 5, groups=10, proposals=2, loss=loss, generator=draw())) == 5
    with pytest.raises(DataError, match="6 pairs are asked for, but there are 5"):
        greedily(5, 6, groups=1, proposals=1, loss=loss, generator=draw())


def test_rows_are_dealt_out_to_phases():
    chosen = torch.arange(7)
    assert torch.equal(dealt(chosen, [7], 0)[0], chosen)
    first, second = dealt(chosen, [4, 3], 0)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(7)) and first.tolist() != [0, 1, 2, 3]
    assert torch.equal(first, dealt(chosen, [4, 3], 0)[0])


def test_kept_photos_are_seen_as_their_features_and_are_not_learned(make_problem):
    from dataclasses import replace

    pairs = make_problem(trainable=False).pairs
    pixels, features = pairs.images, torch.randn(len(pairs.images), 5, generator=draw())
    kept = replace(pairs, images=features, kind=Kept(pixels, tuple(b"%d" % i for i in range(len(pixels)))))
    values = initial_values(kept.variables())
    assert IMAGES not in values
    assert torch.equal(kept.render(values).data.images, features)
    assert torch.equal(kept.render(values, torch.tensor([2, 0])).data.images, features[[2, 0]])
    phase = kept.phase(values)
    assert phase.images is pixels and phase.photos[3] == b"3"
