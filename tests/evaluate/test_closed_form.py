"""Heads in closed form: they embed as the projector says, from the pairs alone."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from pairstill.core.errors import ConfigError
from pairstill.distill.projector import Covariances
from pairstill.encoders.cache import CachedRows
from pairstill.evaluate.closed_form import ClosedForm, choose_closed_form, closed_form_parameters

IMAGE_WIDTH, TEXT_WIDTH = 5, 7


@pytest.mark.parametrize("width", [7, 3])
def test_cosines_are_those_of_the_projectors(make_factory, width):
    factory = make_factory(trainable=False, kind="linear", width=9)
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(12, IMAGE_WIDTH, generator=generator), torch.randn(12, TEXT_WIDTH, generator=generator)
    others, captions = torch.randn(4, IMAGE_WIDTH, generator=generator), torch.randn(6, TEXT_WIDTH, generator=generator)
    parameters = closed_form_parameters(factory, images, texts, ClosedForm(0.05, width))
    assert parameters.keys() == factory.initial_parameters(0).keys()
    u, v = functional_call(factory.build(), parameters, (others, captions))
    a, b = Covariances.of(images, texts).factors(0.05, width)
    x, y = (F.normalize(side, dim=1) for side in ((others - images.mean(0)) @ a, (captions - texts.mean(0)) @ b))
    torch.testing.assert_close(F.normalize(u, dim=1) @ F.normalize(v, dim=1).T, x @ y.T, rtol=1e-4, atol=1e-5)


def test_the_ridge_that_validation_likes_is_chosen(make_factory, make_split):
    """With weak directions that tell all, a small ridge is better than one that only sees the strong ones."""
    factory = make_factory(trainable=False, kind="linear", width=4)
    train, val = (_turned(make_split, images, seed) for images, seed in ((40, 0), (30, 1)))
    assert choose_closed_form(factory, train, val, (1e4, 1e-3), 256) == ClosedForm(1e-3, 4)
    assert choose_closed_form(factory, train, val, (0.3,), 2) == ClosedForm(0.3, 2)


def _turned(make_split, images, seed):
    """Return a split whose few strong directions of images are noise, and whose weak ones tell the text."""
    split = make_split(images=images, captions=1, pixels=False, seed=seed)
    rows = split.images.all()
    texts = torch.zeros(images, TEXT_WIDTH)
    texts[:, :IMAGE_WIDTH] = rows
    texts[:, 0] *= 30
    scaled = rows.clone()
    scaled[:, 1] *= 30
    return replace(split, images=CachedRows([scaled]), text_embeddings=CachedRows([texts]))


@pytest.mark.parametrize("model", [{"trainable": True, "kind": "linear"}, {"trainable": False, "kind": "residual"}])
def test_other_models_have_no_closed_form(make_factory, model):
    images, texts = torch.zeros(2, IMAGE_WIDTH), torch.zeros(2, TEXT_WIDTH)
    with pytest.raises(ConfigError, match="linear heads behind frozen towers"):
        closed_form_parameters(make_factory(**model), images, texts, ClosedForm(0.05, 3))


def test_pixels_have_no_closed_form(make_factory, make_split):
    with pytest.raises(ConfigError, match="linear heads behind frozen towers"):
        choose_closed_form(make_factory(trainable=True), make_split(), make_split(), (0.1, 1.0), 3)
