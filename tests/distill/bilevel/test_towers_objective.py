"""Several towers in one distillation: what is common moves for all of them, rates for each."""

from dataclasses import replace

import pytest
import torch

from pairstill.config import FeaturesFirstConfig, HypergradientConfig
from pairstill.core.world import World
from pairstill.distill.bilevel.towers_objective import TowersObjective
from pairstill.distill.features_first import FeatureRange, features_of, invert_features
from pairstill.distill.learned import initial_values
from pairstill.distill.pairs import PlainPairs
from pairstill.distill.shared_pairs import SharedPairs
from pairstill.encoders.image import ImageEncoder
from pairstill.encoders.pixel_space import PixelSpace, TowerOfSpace
from pairstill.events import silent

COMMON = ("images", "texts", "similarity/matrix")
RATES = ("inner_lr_image", "inner_lr_text")


@pytest.fixture(autouse=True)
def _double():
    """Work in double precision, in which solvers and finite differences agree closely."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def one(make_problem):
    """The objective of one tower."""
    return make_problem(trainable=False, trajectories_per_step=4)


def several(one, factories):
    """The objective of several towers, whose common space is that of the first."""
    space = PixelSpace.of_encoder(one.factory.encoder.spec)
    towers = [
        TowerOfSpace(factory.encoder.tower, PixelSpace.of_encoder(factory.encoder.spec), space) for factory in factories
    ]
    shared = SharedPairs.of(one.pairs, towers)
    own = zip(factories, shared.views, strict=True)
    return TowersObjective(shared, tuple(replace(one, factory=factory, pairs=view) for factory, view in own))


def another(factory):
    """A factory with a tower of other weights, another size and another normalisation."""
    encoder = factory.encoder
    tower = type(encoder.tower)().requires_grad_(False)
    with torch.no_grad():
        for value, first in zip(tower.parameters(), encoder.tower.parameters(), strict=True):
            value.copy_(-0.7 * first + 0.1)
    spec = replace(encoder.spec, size=4, mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.3), digest="of-another")
    return replace(factory, encoder=ImageEncoder(tower, spec))


def leaves(variables):
    return {name: value.clone().requires_grad_() for name, value in initial_values(variables).items()}


def test_the_same_tower_twice_has_the_hypergradient_of_one_with_the_segments_of_both(one):
    twice = several(one, [one.factory, one.factory])
    tower_segments = twice.tower_segments(0)
    assert [tower_segment.tower for tower_segment in tower_segments] == [0, 1, 0, 1]
    losses, found = twice.gradients(leaves(twice.variables()), tower_segments)
    expected_losses, expected = one.gradients(
        leaves(one.variables()), [tower_segment.segment for tower_segment in tower_segments]
    )
    for part, value in expected_losses.items():
        torch.testing.assert_close(losses[part], value)
    for name in COMMON:
        torch.testing.assert_close(found[name], expected[name])
    for name in RATES:
        torch.testing.assert_close(found[f"{name}/1"] + found[f"{name}/2"], expected[name])
    assert found.keys() == {*COMMON, *(f"{name}/{tower}" for name in RATES for tower in (1, 2))}


@pytest.mark.parametrize("name", COMMON)
def test_gradients_of_what_is_common_agree_with_unrolled_and_with_differences_of_the_loss(one, name):
    both = several(one, [one.factory, another(one.factory)])
    values, tower_segments = leaves(both.variables()), both.tower_segments(0)

    def loss(at):
        return float(torch.stack(list(both.gradients(at, tower_segments)[0].values())).sum())

    found = both.gradients(values, tower_segments)[1][name]
    unrolled = HypergradientConfig(mode="unrolled")
    plain = replace(
        both, towers=tuple(replace(t, config=replace(t.config, hypergradient=unrolled)) for t in both.towers)
    )
    torch.testing.assert_close(found, plain.gradients(values, tower_segments)[1][name])
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    ends = [
        loss({**values, name: (values[name] + step * direction).detach().requires_grad_()}) for step in (1e-5, -1e-5)
    ]
    assert float((found * direction).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_segments_belong_to_the_towers_in_turn_from_step_to_step(make_problem):
    one = make_problem(trainable=False, trajectories_per_step=3)
    both = several(one, [one.factory, another(one.factory)])
    assert [[tower_segment.tower for tower_segment in both.tower_segments(step)] for step in (0, 1)] == [
        [0, 1, 0],
        [1, 0, 1],
    ]
    again = several(one, [one.factory, one.factory]).tower_segments(1)
    assert [s.segment.expert for s in again] == [s.expert for s in one.draws.segments(1)]


def test_a_tower_without_a_segment_has_rates_that_no_gradient_moves(make_problem):
    one = make_problem(trainable=False, trajectories_per_step=1)
    both = several(one, [one.factory, another(one.factory)])
    (step,) = both.step(leaves(both.variables()), 0)
    assert step.notes["towers"] == [0] and float(step.gradients["inner_lr_image/2"]) == 0
    assert float(step.gradients["inner_lr_image/1"]) != 0


def test_processes_that_share_the_segments_have_the_mean_of_one(one):
    both = several(one, [one.factory, another(one.factory)])
    values, tower_segments = leaves(both.variables()), both.tower_segments(0)
    whole = both.gradients(values, tower_segments)[1]
    parts = [both.gradients(values, World(rank=rank, size=2).shard(tower_segments))[1] for rank in (0, 1)]
    for name, value in whole.items():
        torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, value)


def test_features_of_each_tower_are_learned_then_pixels_that_have_them_all(one):
    both = several(one, [one.factory, another(one.factory)]).pairs
    first = FeaturesFirstConfig(steps=1, inversion_steps=2)
    boxes = [FeatureRange.of([features_of(tower, both.views[0].images)]) for tower in both.towers]
    on_features = both.on_features(first, boxes)
    begin = initial_values(on_features.variables())
    assert {"images/1", "images/2", "texts"} < begin.keys() and "images" not in begin
    for view, tower in zip(on_features.views, both.towers, strict=True):
        torch.testing.assert_close(begin[f"images{view.label}"], features_of(tower, both.views[0].images))
    assert on_features.variables()["images/2"].project is not None
    moved = {**begin, "images/1": begin["images/1"] + 0.01}
    found = both.inverted(moved, first, 1, silent)
    wanted = [moved["images/1"], moved["images/2"]]
    assert torch.equal(found["images"], invert_features(both.towers, both.views[0].images, wanted, first))
    assert found.keys() == initial_values(both.variables()).keys()
    after = both.going_on(found, both.views[0].outer)
    assert all(torch.equal(view.images, found["images"]) for view in after.views)


def test_the_inversion_weighs_the_towers_alike(one):
    images = one.pairs.images
    tower = one.factory.encoder.tower
    wanted = features_of(tower, images) + 0.1
    config = FeaturesFirstConfig(inversion_steps=3)
    alone = invert_features([tower], images, [wanted], config)
    torch.testing.assert_close(invert_features([tower, tower], images, [wanted, wanted], config), alone)


def test_what_is_stored_has_the_rates_of_each_tower_and_their_mean(one):
    shared = several(one, [one.factory, another(one.factory)]).pairs
    values = initial_values(shared.variables())
    values["inner_lr_image/2"] = 4 * values["inner_lr_image/1"]
    stored = shared.phase(values)
    assert [rates.image for rates in stored.tower_rates] == pytest.approx([0.1, 0.4])
    assert stored.inner_lr_image == pytest.approx(0.2) and stored.inner_lr_text == pytest.approx(0.2)
    assert torch.equal(stored.images, shared.views[0].images)
    assert isinstance(shared.views[0], PlainPairs)
