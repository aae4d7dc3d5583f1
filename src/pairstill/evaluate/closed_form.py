"""The closed-form student: linear heads solved from the pairs in place of being trained on them, as APM means them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.core.errors import ConfigError
from pairstill.distill.projector import Covariances
from pairstill.encoders.split import EncodedSplit
from pairstill.evaluate.retrieval import retrieval_ranks
from pairstill.model.dual_encoder import ModelFactory, Parameters


@dataclass(frozen=True)
class ClosedForm:
    """How projectors are solved from pairs.

    Attributes:
        ridge: as in `Covariances.factors`.
        width: of both projectors, at most that of the heads.
    """

    ridge: float
    width: int


def has_closed_form(factory: ModelFactory) -> bool:
    """Return whether the model trains nothing but linear heads."""
    return factory.only_linear_heads


def _refusal() -> ConfigError:
    return ConfigError(
        "a student in closed form has linear heads behind frozen towers: set image.trainable to false and heads.kind "
        "to linear, or leave closed_form out of evaluate.methods"
    )


def closed_form_parameters(factory: ModelFactory, images: Tensor, texts: Tensor, form: ClosedForm) -> Parameters:
    """Return the pairs' projectors A and B as heads, whose cosines are those of A^T (x - mean x) and B^T (y - mean y).

    Nothing but the pairs is used, their means included. Heads that are wider than the projectors have zeros beyond.

    Args:
        factory: the model, which trains two linear heads and nothing else.
        images: features of the pairs (pairs, image width).
        texts: their text embeddings (pairs, text width).
        form: how the projectors are solved.

    Raises:
        ConfigError: the model is another one.
    """
    if not has_closed_form(factory):
        raise _refusal()
    with torch.no_grad():
        found = Covariances.of(images, texts)
        wide = factory.width - form.width
        image, text = (F.pad(side, (0, wide)).T.contiguous() for side in found.factors(form.ridge, form.width))
        return {
            "image_head.project.weight": image,
            "image_head.project.bias": -image @ found.image_mean,
            "text_head.project.weight": text,
            "text_head.project.bias": -text @ found.text_mean,
        }


def choose_closed_form(
    factory: ModelFactory, train: EncodedSplit, val: EncodedSplit, ridges: Sequence[float], width: int
) -> ClosedForm:
    """Return the closed form whose projectors of all training pairs have the best mean recall on validation.

    The first of equals is chosen; a single ridge is not tried.

    Args:
        factory: the model, whose image tower is frozen.
        train: the training split.
        val: the validation split.
        ridges: what is tried.
        width: of the projectors, if the heads are as wide.

    Raises:
        ConfigError: the image tower is trained.
    """
    if factory.trainable:
        raise _refusal()
    width = min(width, factory.width)
    if len(ridges) == 1:
        return ClosedForm(ridges[0], width)
    whole = Covariances.of(train.image_inputs(train.caption_owner), train.texts(torch.arange(train.num_captions)))
    images, captions = (torch.cat(list(batches)) for batches in (val.image_batches(), val.text_batches()))

    def recall(ridge: float) -> float:
        a, b = whole.factors(ridge, width)
        embedded = (images - whole.image_mean) @ a, (captions - whole.text_mean) @ b
        return retrieval_ranks(*embedded, val.caption_owner).recalls.mean

    return ClosedForm(max(ridges, key=recall), width)
