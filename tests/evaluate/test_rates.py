from dataclasses import replace

import pytest
import torch

from pairstill.config import CrossConfig
from pairstill.core.errors import ConfigError, NumericalError
from pairstill.evaluate.protocol import recalls_on
from pairstill.evaluate.rates import AS_THEY_ARE, RateChoice, Scales, Trial, choose_scales, trial_of
from pairstill.evaluate.student import student_phases, train_student

RECALLS = {(1, 1): 10.0, (0.1, 1): 8.0, (3, 1): 20.0, (3, 0.1): 20.0, (3, 3): 25.0, (1, 0.1): 30.0, (1, 3): 9.0}
"""By the scales of the image and the text side; the best pair of all, (1, 0.1), is off the way of (3, ...)."""


def choose(*sides, scales=(0.1, 1.0, 3.0), recalls=RECALLS):
    """Choose among students whose recall is told by their scales, and return the choice with what was tried."""
    choice = choose_scales(lambda scale: recalls[scale.image, scale.text], Scales(), sides, scales)
    return (choice.scales.image, choice.scales.text), [(t.scales.image, t.scales.text) for t in choice.trials]


def test_without_sides_or_other_scales_the_rates_stay_and_nothing_is_tried():
    assert choose() == choose("image", "text", scales=()) == choose("text", scales=(1.0,)) == ((1.0, 1.0), [])
    assert AS_THEY_ARE.rates_tried == 1


def test_a_side_chooses_its_rates_alone():
    assert choose("image") == ((3.0, 1.0), [(1, 1), (0.1, 1), (3, 1)])
    assert choose("text") == ((1.0, 0.1), [(1, 1), (1, 0.1), (1, 3)])


def test_two_sides_choose_one_after_the_other():
    best, tried = choose("image", "text")
    assert best == (3.0, 3.0) and tried == [(1, 1), (0.1, 1), (3, 1), (3, 0.1), (3, 3)]


def test_the_rates_as_they_are_are_tried_even_where_they_are_not_in_the_list():
    assert choose("image", scales=(0.1,)) == ((1.0, 1.0), [(1, 1), (0.1, 1)])


def test_of_equal_recalls_the_nearest_to_1_is_chosen():
    assert choose("image", scales=(0.3, 3.0), recalls={(1, 1): 5.0, (0.3, 1): 5.0, (3, 1): 5.0})[0] == (1, 1)
    far = {(1, 1): 4.0, (0.1, 1): 5.0, (0.3, 1): 5.0, (3, 1): 5.0, (10, 1): 5.0}
    assert choose("image", scales=(10, 0.1, 0.3, 3), recalls=far)[0] == (3, 1), "3 is nearer than 0.3, as factors go"


def test_a_student_that_diverges_is_not_chosen_unless_all_do():
    diverging = {(1, 1): None, (0.1, 1): 0.0, (3, 1): None, (0.1, 0.1): None, (0.1, 3): None}
    assert choose("image", "text", recalls=diverging)[0] == (0.1, 1.0)
    with pytest.raises(
        NumericalError,
        match=r"diverged at every one of 3 scales of rates \(text\); give lower scales than \[0.1, 1.0, 3.0\]",
    ):
        choose("text", recalls={(1, 1): None, (1, 0.1): None, (1, 3): None})


def test_a_trial_is_read_as_it_was_written():
    trials = (Trial(Scales(0.3, 1.0), 31.0 / 3), Trial(Scales(3.0, 1.0), None))
    stored = RateChoice(Scales(0.3, 1.0), trials).to_json()["trials"]
    assert tuple(trial_of(each, Scales) for each in stored) == trials


def test_a_student_trains_at_the_learned_rates_times_the_chosen_scales(make_evaluator, distilled):
    evaluator, seed = make_evaluator(), (0, "student", 2)
    evaluator = replace(evaluator, evaluate=replace(evaluator.evaluate, rate_scales=(0.25,)))
    course = evaluator.of_pairs(distilled, ("text",))
    choice = evaluator.choose(course)
    assert evaluator.factory.seeds == [(0, "student", "rates")] * 2 and evaluator.splits.test.images.readings == 0
    assert [trial.scales for trial in choice.trials] == [Scales(), Scales(text=0.25)]
    choice = replace(choice, scales=Scales(text=0.25))
    found = evaluator.trained(course, 2, choice)
    assert found.settings == {"scale_image": 1.0, "scale_text": 0.25}
    phases = student_phases(distilled.phases, "wbce", None, evaluator.factory.device)
    phases = [replace(phase, lr_text=0.25 * phase.lr_text) for phase in phases]
    model = evaluator.factory.build()
    student = evaluator.student
    for epoch, now in train_student(
        evaluator.factory, model, phases, "wbce", student, *seed, batch_size=evaluator.batch_size
    ):
        if epoch == found.epoch:
            assert all(torch.equal(found.parameters[name], value) for name, value in now.items())
            assert found.recall == recalls_on(model, now, evaluator.splits.val).mean


def test_a_trial_is_the_best_epoch_on_validation_of_a_student_of_its_own(make_evaluator, distilled):
    evaluator = make_evaluator()
    course, scales = evaluator.of_pairs(distilled), Scales(0.5, 2.0)
    model, val = evaluator.factory.build(), evaluator.splits.val
    means = [recalls_on(model, now, val).mean for _, now in course.train("rates", scales)]
    assert evaluator.try_scales(course, scales) == max(means)


def test_a_trial_that_is_not_finite_has_no_recall(make_evaluator, distilled):
    evaluator = make_evaluator()
    course = evaluator.at_teachers_rates(distilled)
    assert evaluator.try_scales(course, Scales(1e38, 1e38)) is None
    assert evaluator.try_scales(course, Scales(1e-3, 1e-3)) is not None


def test_learned_rates_are_scaled_if_the_settings_say_so(make_evaluator, distilled):
    evaluator = make_evaluator()
    scaling = replace(evaluator, evaluate=replace(evaluator.evaluate, scale_learned=True))
    assert evaluator.of_pairs(distilled).sides == () and scaling.of_pairs(distilled).sides == ("image", "text")
    assert evaluator.of_pairs(distilled, ("image",)).sides == ("image",)
    assert scaling.of_pairs(distilled, ("image",)).sides == ("image", "text"), "other encoders do not lessen it"
    for course in (evaluator.random(6), evaluator.full(), evaluator.at_teachers_rates(distilled)):
        assert course.sides == ("image", "text")


def test_the_strength_must_be_above_zero():
    with pytest.raises(ConfigError, match="ridge is 0"):
        CrossConfig(ridge=0.0)
