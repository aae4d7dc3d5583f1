"""Where segments start: growing ranges, points between epochs, and blended pairs."""

from dataclasses import fields, replace

import pytest
import torch

from pairstill.distill.bilevel.inner_loop import InnerStep
from pairstill.distill.bilevel.solvers import solver
from pairstill.model.dual_encoder import Blend, DropoutMasks
from pairstill.teachers.shortcut import TeacherPath


def starts(problem, steps):
    return [[segment.epoch for segment in problem.draws.segments(step)] for step in steps]


PHASE = {"range_start": 1, "range_end": 3, "endpoint": 4, "outer_steps": 20}


def test_a_growing_range_begins_at_its_start_and_ends_whole(make_problem):
    problem = make_problem(range_growth=0.5, trajectories_per_step=40, phase=PHASE)
    seen = [set(epochs) for epochs in starts(problem, range(20))]
    assert all(epochs == {1} for epochs in seen[:5])
    assert all(epochs == {1, 2} for epochs in seen[5:10])
    assert all(epochs == {1, 2, 3} for epochs in seen[10:])


def test_a_range_that_does_not_grow_draws_as_ever(make_problem):
    whole = make_problem(trajectories_per_step=4, phase=PHASE)
    grown = make_problem(trajectories_per_step=4, phase=PHASE, range_growth=0.1)
    assert starts(whole, range(2, 20)) == starts(grown, range(2, 20))


def test_continuous_starts_lie_between_epochs(make_problem):
    problem = make_problem(start_sampling="continuous", shortcut=True, trajectories_per_step=50, phase=PHASE)
    (drawn,) = starts(problem, [3])
    assert 1 <= min(drawn) < 1.3 and 2.7 < max(drawn) <= 3 and len(set(drawn)) == 50


def test_points_between_epochs_of_a_shortcut():
    initial, move = {"a": torch.zeros(2)}, {"a": torch.tensor([8.0, 4.0])}
    path = TeacherPath(initial, torch.tensor([[0.0, 0.25, 1.0]]), {2: move})
    assert path.at(1)["a"].tolist() == path.at(1.0)["a"].tolist() == [2.0, 1.0]
    assert path.at(0.5)["a"].tolist() == [1.0, 0.5]
    assert path.at(1.5)["a"].tolist() == [5.0, 2.5]
    assert path.at(2.0)["a"].tolist() == [8.0, 4.0]


def test_blending_by_hand():
    blend = Blend(torch.tensor(0.25), torch.tensor([2, 0, 1]))
    rows = torch.tensor([[4.0], [8.0], [0.0]])
    assert blend.of(rows).tolist() == [[1.0], [5.0], [6.0]]


def blended(loop, share):
    def step(inner):
        masks = inner.masks or DropoutMasks(None, None)
        partners = torch.arange(len(inner.index)).roll(1)
        return InnerStep(inner.index, replace(masks, blend=Blend(torch.tensor(share, dtype=torch.float64), partners)))

    return replace(loop, steps=[step(inner) for inner in loop.steps])


def test_a_share_of_one_blends_nothing(make_loop):
    loop = make_loop(trainable=False, steps=4, dropout=0.3)
    plain, one, half = (solver("exact_store")(x) for x in (loop, blended(loop, 1.0), blended(loop, 0.5)))
    for field in fields(plain):
        if field.name != "losses":
            torch.testing.assert_close(getattr(one, field.name), getattr(plain, field.name))
            assert not torch.allclose(getattr(half, field.name), getattr(plain, field.name))


@pytest.mark.parametrize("mode", ["exact_store", "exact_recompute", "truncated"])
def test_blended_pairs_are_differentiated_exactly(make_loop, mode):
    loop = blended(make_loop(trainable=False, steps=1 if mode == "truncated" else 5), 0.3)
    found, expected = solver(mode)(loop), solver("unrolled")(loop)
    torch.testing.assert_close(found.images, expected.images)
    torch.testing.assert_close(found.texts, expected.texts)


def test_blends_are_drawn_anew_for_every_step_and_again_the_same(make_problem):
    problem = make_problem(trainable=False, dropout=0.0, blend=True)
    shares = [float(step.masks.blend.share) for step in problem.draws.segments(0)[0].steps]
    again = [float(step.masks.blend.share) for step in problem.draws.segments(0)[0].steps]
    assert shares == again and len(set(shares)) == len(shares) and all(0 <= share <= 1 for share in shares)
