"""Rules that choose real pairs, on cases small enough to work by hand."""

import pytest
import torch

from pairstill.core.errors import ConfigError, DataError
from pairstill.distill.coreset import (
    candidates,
    choose_rows,
    forgetting_events,
    herding,
    joint_features,
    k_center,
    most_forgotten,
    retrieved,
)


def test_herding_by_hand():
    # the mean is (1, 1): first the row with the largest product, (4, 0) by being first among equals;
    # then w = (1, 1) + (1, 1) - (4, 0) = (-2, 2) prefers (0, 4)
    features = torch.tensor([[4.0, 0.0], [0.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    assert herding(features, 2).tolist() == [0, 2]


def test_the_mean_of_herded_rows_is_nearer_than_that_of_random_rows():
    generator = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(300, 8, generator=generator) + 0.3, dim=1)
    herded = features[herding(features, 30)].mean(0)
    mean = features.mean(0)
    for _ in range(20):
        drawn = features[torch.randperm(300, generator=generator)[:30]].mean(0)
        assert (herded - mean).norm() < (drawn - mean).norm()


def test_every_row_is_chosen_once_when_all_are_wanted():
    features = torch.ones(5, 3)
    features[2] = 0
    assert sorted(herding(features, 5).tolist()) == sorted(k_center(features, 5).tolist()) == list(range(5))


def test_k_center_takes_the_farthest_first():
    line = torch.tensor([[0.0], [10.0], [11.0], [4.0], [6.0]])  # the mean is 6.2
    assert k_center(line, 4).tolist() == [4, 0, 2, 3]


def test_retrieved_needs_both_directions():
    # the first caption's nearest image is the second one, the first image's nearest caption its own
    images = torch.tensor([[1.0, 0.0], [2.0, 0.5], [0.0, 1.0]])
    texts = torch.tensor([[1.0, 0.0], [0.9, 0.5], [0.0, 1.0]])
    assert retrieved(torch.cat([images, texts], 1)).tolist() == [False, True, True]
    assert retrieved(torch.cat([images, texts], 1), batch_size=1).tolist() == [True, True, True]


def test_forgetting_counts_falls_and_puts_never_learned_first():
    history = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0]]).bool()
    events = forgetting_events(history)
    assert events.tolist() == [2, 0, 1, 4]
    assert most_forgotten(events, 3).tolist() == [3, 0, 2]


def test_forgetting_needs_several_snapshots():
    with pytest.raises(ConfigError, match=r"keep the snapshots \[6\].*teacher.keep to all"):
        choose_rows("forgetting", 2, [6], lambda epoch: torch.eye(4))


def test_random_takes_the_candidates_as_they_come():
    assert choose_rows("random", 3, [], lambda epoch: torch.eye(4)).tolist() == [0, 1, 2]


def test_candidates_are_one_caption_of_each_image(make_split):
    split = make_split(images=6, captions=3)
    captions = candidates(split, 4, torch.Generator().manual_seed(0))
    assert sorted(split.caption_owner[captions].tolist()) == list(range(6))
    with pytest.raises(DataError, match="7 pairs are asked for but the training split has 6"):
        candidates(split, 7, torch.Generator().manual_seed(0))


def test_joint_features_are_both_sides_normalised(make_factory, make_split):
    split, factory = make_split(images=4, captions=2), make_factory()
    captions = torch.tensor([5, 0])
    found = joint_features(factory.build(), factory.initial_parameters(0), split, captions)
    images, texts = found.chunk(2, 1)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
    alone = joint_features(factory.build(), factory.initial_parameters(0), split, captions[1:])
    torch.testing.assert_close(found[1:], alone)
