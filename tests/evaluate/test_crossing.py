from dataclasses import replace

import pytest
import torch

from pairstill.config import CrossConfig
from pairstill.core.errors import ConfigError
from pairstill.evaluate.protocol import Candidate, recalls_on
from pairstill.evaluate.student import student_phases, train_student
from pairstill.studies.cross_encoder.rates import best_crossed, best_scaled

RECALLS = {(1, 1): 10.0, (0.1, 1): 8.0, (3, 1): 20.0, (3, 0.1): 20.0, (3, 3): 25.0, (1, 0.1): 30.0, (1, 3): 9.0}
"""By the scales of the image and the text side; the best pair of all, (1, 0.1), is off the way of (3, ...)."""


def choose(*foreign, scales=(0.1, 1.0, 3.0)):
    """Choose among students whose recall is told by their scales, and return the choice with what was tried."""
    tried = []

    def train(scale):
        tried.append((scale["image"], scale["text"]))
        return Candidate({}, RECALLS[tried[-1]], 1, dict(scale), seconds=2.0)

    found = best_scaled(train, foreign, scales)
    assert found.seconds == 2.0 * len(tried) and found.recall == RECALLS[tuple(found.settings.values())]
    return (found.settings["image"], found.settings["text"]), tried


def test_the_pairs_own_encoders_keep_the_learned_rates():
    assert choose() == ((1.0, 1.0), [(1, 1)])


def test_a_foreign_side_chooses_its_rates_alone():
    assert choose("image") == ((3.0, 1.0), [(1, 1), (0.1, 1), (3, 1)])
    assert choose("text") == ((1.0, 0.1), [(1, 1), (1, 0.1), (1, 3)])


def test_two_foreign_sides_choose_one_after_the_other():
    best, tried = choose("image", "text")
    assert best == (3.0, 3.0) and tried == [(1, 1), (0.1, 1), (3, 1), (3, 0.1), (3, 3)]


def test_the_learned_rates_are_tried_even_where_they_are_not_in_the_list():
    assert choose("image", scales=(0.1,)) == ((1.0, 1.0), [(1, 1), (0.1, 1)])


def test_a_student_trains_at_the_learned_rates_times_the_scale_of_the_foreign_side(make_evaluator, distilled):
    evaluator, seed = make_evaluator(), (0, "student", 2)
    evaluator = replace(evaluator, evaluate=replace(evaluator.evaluate, cross=CrossConfig(rate_scales=(0.25,))))
    found = best_crossed(evaluator, distilled, 2, ["text"], batch_size=2)
    assert evaluator.factory.seeds == [seed] * 2 and evaluator.splits.test.images.readings == 0
    assert found.settings == {"scale_image": 1.0, "scale_text": 0.25}
    phases = student_phases(distilled.phases, "wbce", None, evaluator.factory.device)
    phases = [replace(phase, lr_text=0.25 * phase.lr_text) for phase in phases]
    model = evaluator.factory.build()
    for epoch, now in train_student(evaluator.factory, model, phases, "wbce", evaluator.student, *seed, batch_size=2):
        if epoch == found.epoch:
            assert all(torch.equal(found.parameters[name], value) for name, value in now.items())
            assert found.recall == recalls_on(model, now, evaluator.splits.val).mean


def test_scales_and_strength_must_be_above_zero():
    with pytest.raises(ConfigError, match="rate_scales must all be above 0"):
        CrossConfig(rate_scales=(0.0,))
    with pytest.raises(ConfigError, match="ridge is 0"):
        CrossConfig(ridge=0.0)
