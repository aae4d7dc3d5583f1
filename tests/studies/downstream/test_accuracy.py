import pytest
import torch

from pairstill.core.errors import NumericalError
from pairstill.studies.downstream.accuracy import Accuracies, accuracies, answer_scores, class_embeddings, right_ranks


def test_ranks_are_the_places_in_a_sorted_list():
    scores = torch.rand(50, 20, generator=torch.Generator().manual_seed(0))
    right = torch.arange(50) % 20
    order = scores.argsort(1, descending=True)
    expected = [order[item].tolist().index(int(right[item])) for item in range(50)]
    assert right_ranks(scores, right).tolist() == expected


def test_a_model_that_scores_everything_alike_is_never_right():
    ranks = right_ranks(torch.zeros(4, 12), torch.tensor([0, 3, 7, 11]))
    assert accuracies(ranks, 12) == Accuracies(0.0, 0.0, 0.0)


def test_scores_that_are_not_finite_are_an_error():
    with pytest.raises(NumericalError, match="not finite"):
        right_ranks(torch.tensor([[0.0, float("nan")]]), torch.tensor([0]))


def test_what_is_certain_is_not_reported():
    ranks = torch.tensor([0, 1, 4])
    assert accuracies(ranks, 5) == Accuracies(pytest.approx(100 / 3), None, None)
    assert accuracies(ranks, 10) == Accuracies(pytest.approx(100 / 3), 100.0, None)


def test_a_class_is_the_mean_of_its_prompts_directions():
    prompts = torch.tensor([[[3.0, 0.0], [0.0, 0.5]], [[0.0, 2.0], [0.0, 7.0]]])
    found = class_embeddings(prompts)
    half = 0.5**0.5
    torch.testing.assert_close(found, torch.tensor([[half, half], [0.0, 1.0]]))


def test_answers_score_by_cosine_with_their_own_question_s_image():
    images = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    answers = torch.tensor([[[5.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, -4.0]]])
    torch.testing.assert_close(answer_scores(images, answers), torch.tensor([[1.0, 0.0], [0.5**0.5, -1.0]]))
