import torch

from pairstill.evaluate.answers import answers, draw
from pairstill.evaluate.retrieval import retrieval_ranks


def test_hits_are_ordered_and_marked():
    images = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    query = torch.tensor([[1.0, 0.0]])
    (answer,) = answers(query, torch.tensor([0]), images, torch.tensor([[False, True, False]]), 2)
    assert [(hit.index, hit.right) for hit in answer.hits] == [(0, False), (1, True)]
    assert answer.rank == 2 and round(answer.hits[1].score, 6) == 0.6


def test_a_model_that_scores_all_alike_is_right_last():
    same = torch.ones(4, 3)
    (answer,) = answers(same, torch.tensor([2]), same, torch.tensor([[False, False, True, False]]), 4)
    assert answer.rank == 4 and [hit.right for hit in answer.hits] == [False, False, False, True]


def test_ranks_are_those_that_recall_counts():
    draw_from = torch.Generator().manual_seed(0)
    images, texts = torch.randn(8, 5, generator=draw_from), torch.randn(16, 5, generator=draw_from)
    owner = torch.arange(8).repeat_interleave(2)
    ranks = retrieval_ranks(images, texts, owner)
    every = torch.arange(16)
    right = owner.unsqueeze(1) == torch.arange(8)
    found = [answer.rank - 1 for answer in answers(texts, every, images, right)]
    assert found == ranks.captions.tolist()
    found = [answer.rank - 1 for answer in answers(images, torch.arange(8), texts, right.T)]
    assert found == ranks.images.tolist()


def test_drawn_queries_differ_and_depend_on_the_generator_alone():
    first, again = (draw(6, 100, torch.Generator().manual_seed(1)).tolist() for _ in range(2))
    assert first == again == sorted(set(first)) and len(first) == 6
    assert draw(6, 3, torch.Generator().manual_seed(1)).tolist() == [0, 1, 2]
