from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from pairstill.model.dual_encoder import DropoutMasks
from pairstill.model.functional import embed_split, pair_loss
from pairstill.model.losses import info_nce, weighted_bce


@pytest.fixture
def case(make_factory):
    factory = make_factory(image=True, width=4)
    torch.manual_seed(0)
    return factory, factory.build(), factory.initial_parameters(0), torch.randn(3, 3, 6, 6), torch.randn(3, 7)


def test_the_models_own_values_do_not_matter(case):
    factory, model, parameters, images, texts = case
    expected = pair_loss(model, parameters, (images, texts, None), "infonce", None)
    other = factory.build()
    for value in other.text_head.parameters():
        value.fill_(float("nan"))
    assert torch.equal(pair_loss(other, parameters, (images, texts, None), "infonce", None), expected)


def test_pair_loss_is_the_loss_of_cosine_logits(case):
    _, model, parameters, images, texts = case
    model.load_state_dict(parameters)
    u, v = (F.normalize(side, dim=1) for side in model(images, texts))
    logits, similarity = u @ v.T / 0.07, torch.rand(3, 3)
    wbce = pair_loss(model, parameters, (images, texts, similarity), "wbce", None)
    infonce = pair_loss(model, parameters, (images, texts, similarity), "infonce", None)
    torch.testing.assert_close(wbce, weighted_bce(logits, similarity))
    torch.testing.assert_close(infonce, info_nce(logits))


def test_masks_matter(case):
    _, model, parameters, images, texts = case
    masks = DropoutMasks(None, torch.zeros(3, 4))
    values = [pair_loss(model, parameters, (images, texts, None), "infonce", m) for m in (None, masks)]
    assert not torch.isclose(*values)


def test_wbce_needs_similarities(case):
    _, model, parameters, images, texts = case
    with pytest.raises(ValueError, match="wbce loss needs the similarities"):
        pair_loss(model, parameters, (images, texts, None), "wbce", None)


def test_a_split_is_embedded_whole_and_in_order(case, make_split):
    _, model, parameters, _, _ = case
    split = make_split(images=7, captions=5)
    u, v = embed_split(model, parameters, split)
    model.load_state_dict(parameters)
    expected_u, expected_v = model(split.image_inputs(torch.arange(7)), split.text_embeddings.all())
    torch.testing.assert_close(u, expected_u)
    torch.testing.assert_close(v, expected_v)
    in_batches = embed_split(model, parameters, replace(split, batch_size=2))
    for found, expected in zip(in_batches, (u, v), strict=True):
        torch.testing.assert_close(found, expected)
        assert not found.requires_grad


def test_the_model_says_how_infonce_is_put_together(case, make_factory):
    _, model, parameters, images, texts = case
    added = make_factory(image=True, width=4, info_nce="sum").build()
    mean, both = (pair_loss(m, parameters, (images, texts, None), "infonce", None) for m in (model, added))
    torch.testing.assert_close(both, 2 * mean)
