"""The closed-form student: linear heads solved from the pairs in place of being trained on them, as APM means them."""

import torch
from torch import Tensor

from pairstill.distill.projector import projector
from pairstill.errors import ConfigError
from pairstill.model.dual_encoder import ModelFactory, Parameters


def has_closed_form(factory: ModelFactory) -> bool:
    """Return whether the model trains nothing but linear heads that are wide enough for the text embeddings."""
    return factory.only_linear_heads and factory.width >= factory.text_width


def closed_form_parameters(factory: ModelFactory, images: Tensor, texts: Tensor, ridge: float) -> Parameters:
    """Return heads whose cosines are those of W^T (x - mean x) and y - mean y, with the projector W of the pairs.

    Nothing but the pairs is used, their means included. The text head leaves embeddings as they are, but for the mean
    and for zeros up to the heads' width.

    Args:
        factory: the model, which trains two linear heads and nothing else.
        images: features of the pairs (pairs, image width).
        texts: their text embeddings (pairs, text width).
        ridge: as in `projector`.

    Raises:
        ConfigError: the model is another one, or its heads are narrower than the text embeddings.
    """
    width, text_width = factory.width, factory.text_width
    if not has_closed_form(factory):
        raise ConfigError(
            "a student in closed form has linear heads behind frozen towers, at least as wide as the text embeddings: "
            f"set image.trainable to false, heads.kind to linear and heads.width to {text_width} or more (it is "
            f"{width}), or leave closed_form out of evaluate.methods"
        )
    with torch.no_grad():
        weight = texts.new_zeros(width, images.shape[1])
        weight[:text_width] = projector(images, texts, ridge).T
        identity = torch.eye(width, text_width, dtype=texts.dtype, device=texts.device)
        return {
            "image_head.project.weight": weight,
            "image_head.project.bias": -weight @ images.mean(0),
            "text_head.project.weight": identity,
            "text_head.project.bias": -identity @ texts.mean(0),
        }
