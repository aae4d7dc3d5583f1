import pytest
import torch

from pairstill.distilled import DistilledPhase
from pairstill.report.gallery import Near, Real, nearest_captions, phase_view, picture_side, strongest

ENCODER = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


@pytest.fixture
def phase():
    images = torch.zeros(2, 3, 4, 4)
    images[1] = 4.0  # far outside of what a picture shows
    return DistilledPhase(
        images=images,
        text_embeddings=torch.eye(2, 3),
        similarity_factors={"matrix": torch.tensor([[1.0, 0.3], [-0.2, 0.9]])},
        inner_lr_image=0.1,
        inner_lr_text=0.2,
        captions=("a dog", "a cat"),
        sources=("dog.jpg", "cat.jpg"),
    )


def test_without_the_real_pairs_a_phase_shows_what_it_holds(phase):
    view = phase_view(1, phase, ENCODER, None, 96)
    assert [(card.index, card.caption, card.before, card.nearest) for card in view.cards] == [
        (0, "a dog", None, ()),
        (1, "a cat", None, ()),
    ]
    assert view.gain is None and view.outside == pytest.approx(50.0)
    assert view.storage == {"images": "384 B", "text embeddings": "24 B", "similarities": "16 B", "rates": "8 B"}
    similarity = view.similarity
    assert similarity.diagonal == pytest.approx(0.95)
    assert [(link.image.index, link.text.index, round(link.value, 2)) for link in similarity.links] == [
        (0, 1, 0.3),
        (1, 0, -0.2),
    ]


def test_with_them_it_shows_the_start_the_change_and_the_nearest_captions(phase):
    near = [[Near("a dog", 1.0)], [Near("a bird", 0.5)]]
    real = Real(near, torch.full((2, 3, 4, 4), 0.5), torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    first, second = phase_view(1, phase, ENCODER, real, 96).cards
    assert first.before == first.after, "the image of the first pair did not change"
    assert second.before != second.after
    assert (first.kept, second.kept) == (1.0, 0.0)
    assert second.nearest == near[1]


def test_pairs_from_noise_have_no_start_but_near_captions(phase):
    view = phase_view(1, phase, ENCODER, Real([[Near("a dog", 1.0)]] * 2), 96)
    assert view.gain is None and view.cards[0].before is None and view.cards[0].kept is None
    assert view.cards[0].nearest == [Near("a dog", 1.0)]


def test_pairs_without_learned_similarities_show_none(phase):
    plain = DistilledPhase(
        images=phase.images,
        text_embeddings=phase.text_embeddings,
        similarity_factors={},
        inner_lr_image=0.1,
        inner_lr_text=0.2,
        captions=phase.captions,
        sources=phase.sources,
    )
    view = phase_view(1, plain, ENCODER, None, 96)
    assert view.similarity is None and "similarities" not in view.storage


def test_a_caption_that_stands_twice_is_shown_once():
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    (near,) = nearest_captions(torch.tensor([[2.0, 0.0]]), embeddings, ["red", "red", "blue"], 3)
    assert near == [Near("red", 1.0), Near("blue", 0.0)]


def test_the_strongest_leave_the_diagonal_out():
    assert strongest(torch.eye(1), 5) == []
    matrix = torch.arange(9.0).reshape(3, 3)
    assert strongest(matrix, 2) == [(2, 1, 7.0), (2, 0, 6.0)]


def test_many_pairs_have_smaller_pictures():
    assert picture_side(100) > picture_side(1000)
