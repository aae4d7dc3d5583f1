import pytest
import torch

from pairstill.evaluate.bootstrap import image_hits, resampled_recalls
from pairstill.evaluate.hierarchy import RepeatedHits, resampled_repeats
from pairstill.evaluate.retrieval import QueryRanks

IMAGES = 30
OWNER = torch.arange(IMAGES)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def student(hits):
    """A student that finds the first images, and no other."""
    ranks = torch.where(torch.arange(IMAGES) < hits, 0, 99)
    return image_hits([QueryRanks(ranks, ranks)], OWNER)


def repeated(hits_by_levels):
    return RepeatedHits(tuple(map(student, hits_by_levels.values())), tuple(hits_by_levels))


ALL, NONE = IMAGES, 0


def test_one_student_is_resampled_over_images_alone():
    method = repeated({(0, 0, 0): 12})
    assert torch.equal(resampled_repeats([method], 50, draw()), resampled_recalls([method.students[0]], 50, draw()))
    assert method.distillations == 1 and method.mean_recall == pytest.approx(40)


def test_a_resample_of_two_distillations_takes_either_twice_or_both():
    # all images or none are found, so that the test images cannot matter
    (found,) = resampled_repeats([repeated({(0, 0, 0): ALL, (0, 1, 0): NONE})], 4000, draw())
    shares = [float((found == value).double().mean()) for value in (0, 50, 100)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_students_are_resampled_within_what_is_drawn():
    # teachers 0: one distillation with a student of each kind; teachers 1: one student without a hit
    levels = {(0, 0, 0): ALL, (0, 0, 1): NONE, (1, 1, 0): NONE}
    (found,) = resampled_repeats([repeated(levels)], 20000, draw())
    # teachers 0 are drawn 0, 1 or 2 times with 1/4, 1/2, 1/4; each time its two students give 0, 1/2 or 1 alike
    expected = {0: 1 / 4 + 1 / 2 / 4 + 1 / 4 / 16, 25: 1 / 2 / 2 + 1 / 4 * 4 / 16, 50: 1 / 2 / 4 + 1 / 4 * 6 / 16}
    expected |= {75: 1 / 4 * 4 / 16, 100: 1 / 4 / 16}
    assert sum(expected.values()) == pytest.approx(1)
    for value, share in expected.items():
        assert float((found == value).double().mean()) == pytest.approx(share, abs=0.015), value


def test_the_mean_is_one_of_means():
    method = repeated({(0, 0, 0): 30, (0, 0, 1): 12, (0, 1, 0): 3})
    assert method.mean_recall == pytest.approx((70 + 10) / 2) and method.distillations == 2
    assert float(resampled_repeats([method], 20000, draw()).mean()) == pytest.approx(40, abs=1)


def test_two_methods_see_the_same_images_but_draw_their_own_distillations():
    one = {(0, 0, 0): 12}
    found = resampled_repeats([repeated(one), repeated(one)], 100, draw())
    assert torch.equal(found[0], found[1])
    two = {(0, 0, 0): ALL, (0, 1, 0): NONE}
    found = resampled_repeats([repeated(two), repeated(two)], 100, draw())
    assert not torch.equal(found[0], found[1])


def test_the_same_students_are_known_again():
    one, other = {(0, 0, 0): 12, (0, 0, 1): 12}, {(0, 0, 0): 12, (0, 0, 1): 13}
    assert repeated(one).is_same(repeated(one)) and not repeated(one).is_same(repeated(other))
    assert not repeated(one).is_same(repeated({(0, 0, 0): 12}))
