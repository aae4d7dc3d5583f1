"""Heads in closed form: they embed as the projector says, from the pairs alone."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from pairstill.distill.projector import projector
from pairstill.errors import ConfigError
from pairstill.evaluate.closed_form import closed_form_parameters

IMAGE_WIDTH, TEXT_WIDTH = 5, 7


def test_cosines_are_those_of_the_projector(make_factory):
    factory = make_factory(trainable=False, kind="linear", width=9)
    draw = torch.Generator().manual_seed(0)
    images, texts = torch.randn(12, IMAGE_WIDTH, generator=draw), torch.randn(12, TEXT_WIDTH, generator=draw)
    others, captions = torch.randn(4, IMAGE_WIDTH, generator=draw), torch.randn(6, TEXT_WIDTH, generator=draw)
    parameters = closed_form_parameters(factory, images, texts, 0.05)
    assert parameters.keys() == factory.initial_parameters(0).keys()
    u, v = functional_call(factory.build(), parameters, (others, captions))
    w = projector(images, texts, 0.05)
    expected = F.normalize((others - images.mean(0)) @ w, dim=1) @ F.normalize(captions - texts.mean(0), dim=1).T
    torch.testing.assert_close(F.normalize(u, dim=1) @ F.normalize(v, dim=1).T, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"trainable": True, "kind": "linear"}, "linear heads behind frozen towers"),
        ({"trainable": False, "kind": "residual"}, "linear heads behind frozen towers"),
        ({"trainable": False, "kind": "linear", "width": 3}, r"heads.width to 7 or more \(it is 3\)"),
    ],
)
def test_other_models_have_no_closed_form(make_factory, model, message):
    with pytest.raises(ConfigError, match=message):
        closed_form_parameters(make_factory(**model), torch.zeros(2, IMAGE_WIDTH), torch.zeros(2, TEXT_WIDTH), 0.05)
