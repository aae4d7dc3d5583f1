import math

import pytest
import torch

from pairstill.core.errors import DataError
from pairstill.evaluate.bootstrap import (
    ImageHits,
    difference,
    estimate,
    image_hits,
    image_weights,
    mean_recalls,
    resampled_recalls,
)
from pairstill.evaluate.retrieval import QueryRanks

OWNER = torch.arange(40).repeat_interleave(1 + torch.arange(40) % 3)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def ranks(seed, worst=20, owner=OWNER):
    """Random ranks; the larger `worst`, the fewer hits."""
    generator = draw(seed)
    sizes = (len(owner), int(owner.max()) + 1)
    return QueryRanks(*(torch.randint(worst, (size,), generator=generator) for size in sizes))


def hits(*students, owner=OWNER):
    return image_hits(students, owner)


def test_hits_by_image_by_hand():
    # image 0 has captions 0 and 2, image 1 has caption 1; of two students
    owner = torch.tensor([0, 1, 0])
    first = QueryRanks(torch.tensor([0, 7, 4]), torch.tensor([0, 20]))
    second = QueryRanks(torch.tensor([1, 0, 12]), torch.tensor([5, 9]))
    found = hits(first, second, owner=owner)
    # captions of image 0 at 1, 5, 10: 1 + 0, 2 + 1, 2 + 1, halved; of image 1: 0 + 1, 0 + 1, 1 + 1, halved
    assert found.captions.tolist() == [[0.5, 1.5, 1.5], [0.5, 0.5, 1.0]]
    assert found.images.tolist() == [[0.5, 0.5, 1.0], [0.0, 0.0, 0.5]]
    assert found.num_captions.tolist() == [2, 1]


def test_the_mean_recall_is_that_of_the_students():
    students = [ranks(seed) for seed in range(3)]
    expected = sum(student.recalls.mean for student in students) / 3
    assert hits(*students).mean_recall == pytest.approx(expected)
    assert 10 < expected < 90


def test_a_resample_counts_an_image_and_its_captions_as_often_as_it_is_drawn():
    student = ranks(1)
    drawn = torch.tensor([3, 3, 3, 0, 17, 39, 39])
    # the same by copying queries instead of weighing them
    captions = torch.cat([student.captions[image == OWNER] for image in drawn])
    copied = QueryRanks(captions, student.images[drawn])
    weights = torch.bincount(drawn, minlength=40).double().unsqueeze(0)
    assert float(mean_recalls(hits(student), weights)) == pytest.approx(copied.recalls.mean)


def test_resamples_draw_as_many_images_as_there_are_and_come_out_the_same_in_any_pieces():
    methods = [hits(ranks(0)), hits(ranks(1, worst=12))]
    whole = resampled_recalls(methods, 50, draw())
    assert whole.shape == (2, 50)
    pieces = list(image_weights(40, 9, draw(), 7 * 40))
    assert [len(weights) for weights in pieces] == [7, 2]
    assert all(float(weights.sum(1).unique()) == 40 for weights in pieces)
    torch.testing.assert_close(resampled_recalls(methods, 50, draw(), scalars=7 * 40), whole)


def test_the_spread_of_resamples_is_the_standard_error_of_the_mean():
    # one caption an image, so that the mean recall is a plain mean over images
    owner = torch.arange(200)
    student = ranks(2, owner=owner)
    (resampled,) = resampled_recalls([hits(student, owner=owner)], 4000, draw())
    each = torch.tensor([[float(r < k) for k in (1, 5, 10)] for r in student.captions]).mean(1)
    each = 100 * (each + torch.tensor([[float(r < k) for k in (1, 5, 10)] for r in student.images]).mean(1)) / 2
    assert float(resampled.mean()) == pytest.approx(student.recalls.mean, abs=0.3)
    assert float(resampled.std()) == pytest.approx(float(each.std()) / math.sqrt(200), rel=0.05)


def test_all_methods_see_the_same_resamples():
    """Of paired resamples, a constant lead on every image leaves no uncertainty at all."""
    behind = QueryRanks(torch.full((len(OWNER),), 3), torch.full((40,), 3))
    ahead = QueryRanks(torch.zeros(len(OWNER), dtype=torch.int64), torch.zeros(40, dtype=torch.int64))
    first, second = resampled_recalls([hits(ahead), hits(behind)], 99, draw())
    found = difference(100.0, 200 / 3, first, second)
    assert (found.recall.value, found.recall.low, found.recall.high) == pytest.approx((100 / 3,) * 3)
    assert found.p_value == 2 / 100 and found.is_clear


def test_a_method_does_not_differ_from_itself():
    method = hits(ranks(0), ranks(1))
    found = difference(5.0, 5.0, *resampled_recalls([method, method], 99, draw()))
    assert (found.recall.low, found.recall.high, found.p_value) == (0, 0, 1) and not found.is_clear


def test_interval_and_p_value_by_hand():
    # differences -2 ... 97: the 2.5 % point of 100 equally spaced values lies 2.475 steps above the lowest
    first, second = torch.arange(100.0), torch.full((100,), 2.0)
    found = difference(50.0, 2.0, first, second)
    assert (found.recall.value, found.recall.low, found.recall.high) == pytest.approx((48, 0.475, 94.525))
    # three of a hundred are not above zero
    assert found.p_value == pytest.approx(2 * 4 / 101) and found.resamples == 100
    assert found.is_clear, "the interval leaves out zero"


def test_the_order_of_the_methods_turns_the_sign():
    a, b = resampled_recalls([hits(ranks(0)), hits(ranks(1, worst=12))], 200, draw())
    there, back = difference(30.0, 45.0, a, b), difference(45.0, 30.0, b, a)
    assert there.p_value == back.p_value
    assert (there.recall.value, there.recall.low) == pytest.approx((-back.recall.value, -back.recall.high))


def test_noise_is_called_different_about_as_often_as_the_interval_says():
    """Two methods of equal quality: at most one in twenty comparisons should find a difference."""
    owner = torch.arange(60)
    generator, clear = draw(5), 0
    for trial in range(200):
        pair = [hits(ranks(2 * trial + side, owner=owner), owner=owner) for side in (0, 1)]
        found = difference(*(method.mean_recall for method in pair), *resampled_recalls(pair, 200, generator))
        clear += found.is_clear
    assert 2 <= clear <= 22  # about 12 when the interval is a little narrow, as percentile intervals are


def test_other_images_cannot_be_paired():
    first = hits(ranks(0))
    other = ImageHits(first.captions, first.images, first.num_captions.flip(0))
    with pytest.raises(DataError, match="other test images or captions; they cannot be paired"):
        resampled_recalls([first, other], 10, draw())


def test_an_estimate_holds_the_percentiles_of_its_resamples():
    found = estimate(7.0, torch.arange(1001.0))
    assert (found.value, found.low, found.high) == pytest.approx((7, 25, 975))
