from dataclasses import replace

import pytest
import torch

from pairstill.config import MixtureConfig, TrajectoryConfig
from pairstill.core.errors import ConfigError
from pairstill.distill.learned import initial_values
from pairstill.distill.mixture import Mixture, begun, largest, nearest
from pairstill.distill.pairs import TEXTS, WEIGHTS

CONFIG = MixtureConfig(captions=2, candidates=3)
EMBEDDINGS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.1]])
WORDS = ("east", "north", "between", "west")


def test_texts_by_hand():
    mixture = Mixture((("east", "north"),), EMBEDDINGS[:2].unsqueeze(0), torch.tensor([[1.0, 0.0]]), CONFIG)
    # 2 (1, 0) - 3 (0, 1)
    assert mixture.texts(torch.tensor([[2.0, -3.0]])).tolist() == [[2.0, -3.0]]


def test_nearest_captions_by_hand_with_the_own_one_first():
    texts = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    batches = [EMBEDDINGS[:3], EMBEDDINGS[3:]]
    # cosines of the first: 1, 0, 0.71, -1; of the second: 0, 1, 0.71, 0.1
    assert nearest(texts, batches, 2).tolist() == [[0, 2], [1, 2]]
    assert nearest(texts, batches, 2, own=torch.tensor([3, 1])).tolist() == [[3, 0], [1, 2]]
    assert nearest(texts, batches, 9).shape == (2, 4)


def test_a_mixture_begins_as_its_own_caption():
    mixture = begun(nearest(EMBEDDINGS[[2, 0]], [EMBEDDINGS], 3, torch.tensor([2, 0])), WORDS, [EMBEDDINGS], CONFIG)
    assert mixture.captions == (("between", "north", "east"), ("east", "between", "north")) or mixture.captions == (
        ("between", "east", "north"),
        ("east", "between", "north"),
    )
    assert torch.equal(mixture.texts(mixture.weights), EMBEDDINGS[[2, 0]])
    assert mixture.variable().value is mixture.weights


def test_only_the_largest_weights_stay_and_all_where_there_are_few():
    weights = torch.tensor([[0.5, -2.0, 1.0], [3.0, 0.0, -4.0]])
    assert largest(weights, 2).tolist() == [[0.0, -2.0, 1.0], [3.0, 0.0, -4.0]]
    assert torch.equal(largest(weights, 3), weights) and largest(weights, 3) is not weights


def test_a_move_prunes_in_place_and_what_is_stored_is_sorted():
    mixture = begun(nearest(EMBEDDINGS[[2]], [EMBEDDINGS], 3, torch.tensor([2])), WORDS, [EMBEDDINGS], CONFIG)
    weights = torch.tensor([[0.1, -2.0, 1.0]])
    stored, texts = mixture.stored(weights)
    assert stored.captions == (mixture.captions[0][1:],) and stored.weights.tolist() == [[-2.0, 1.0]]
    torch.testing.assert_close(texts, mixture.texts(torch.tensor([[0.0, -2.0, 1.0]])))
    mixture.prune(weights)
    assert weights.tolist() == [[0.0, -2.0, 1.0]]


@pytest.mark.parametrize("trainable", [False, True])
def test_gradients_of_the_weights_are_those_of_autograd_through_the_loop(make_problem, trainable):
    problem = make_problem(trainable=trainable, dropout=0.0)
    generator = torch.Generator().manual_seed(5)
    texts = problem.pairs.texts
    embeddings = torch.randn(len(texts), 4, texts.shape[1], generator=generator)
    weights = torch.randn(len(texts), 4, generator=generator)
    captions = (("a", "b", "c", "d"),) * len(texts)
    config = MixtureConfig(captions=4, candidates=4)
    mixed = replace(problem, pairs=replace(problem.pairs, mixture=Mixture(captions, embeddings, weights, config)))
    segments = problem.draws.segments(0)

    def values_of(objective):
        found = initial_values(objective.variables())
        return {name: value.detach().clone().requires_grad_() for name, value in found.items()}

    values = values_of(mixed)
    assert WEIGHTS in values and TEXTS not in values
    _, gradients = mixed.gradients(values, segments)
    # the chain rule by hand: dL/dw_ik = <dL/dt_i, e_ik>, at the texts that the weights give
    there = replace(problem, pairs=replace(problem.pairs, texts=mixed.pairs.mixture.texts(weights)))
    _, free = there.gradients(values_of(there), segments)
    wanted = (free[TEXTS].unsqueeze(1) * embeddings).sum(2)
    torch.testing.assert_close(gradients[WEIGHTS], wanted, rtol=1e-4, atol=1e-6)
    for name in free.keys() - {TEXTS}:
        torch.testing.assert_close(gradients[name], free[name])


def test_the_phase_has_captions_weights_and_their_texts(make_problem):
    problem = make_problem()
    texts = problem.pairs.texts
    embeddings = torch.stack([texts, 2 * texts, -texts], 1)
    captions = tuple((f"a{i}", f"b{i}", f"c{i}") for i in range(len(texts)))
    weights = torch.tensor([[0.25, 0.5, 1.0]]).repeat(len(texts), 1)
    pairs = replace(problem.pairs, mixture=Mixture(captions, embeddings, weights, CONFIG))
    phase = pairs.phase(initial_values(pairs.variables()))
    assert phase.mixtures is not None and phase.mixtures.captions[1] == ("c1", "b1")
    assert phase.mixtures.weights[1].tolist() == [1.0, 0.5]
    torch.testing.assert_close(phase.text_embeddings, 2 * 0.5 * texts - texts)


def test_settings_say_what_is_wrong():
    with pytest.raises(ConfigError, match="candidates is 4, fewer than the 8 captions"):
        MixtureConfig(candidates=4)
    with pytest.raises(ConfigError, match="distill.init is noise, but photos"):
        TrajectoryConfig(init="noise", texts="mixture")
