"""The dual encoder as a pure function of its parameters."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call

from pairstill.config import InfoNCE
from pairstill.encoders.split import EncodedSplit
from pairstill.model.dual_encoder import DropoutMasks, DualEncoder, Parameters
from pairstill.model.losses import cosine_logits, info_nce, weighted_bce

LossName = Literal["wbce", "infonce"]


def least_pairs(loss: LossName) -> int:
    """Return how many pairs a mini-batch needs to teach anything: InfoNCE of one pair, without negatives, is 0."""
    return 2 if loss == "infonce" else 1


def pair_loss(
    model: DualEncoder,
    parameters: Parameters,
    batch: tuple[Tensor, Tensor, Tensor | None],
    loss: LossName,
    masks: DropoutMasks | None,
) -> Tensor:
    """Return the loss of a mini-batch of pairs under `parameters`.

    Args:
        model: the structure, and the convention of `infonce`; its own parameter values are not used.
        parameters: every parameter by name.
        batch: image inputs (pairs, ...), text embeddings (pairs, width) and, for `wbce`, the similarities
            (pairs, pairs) of exactly these pairs.
        loss: `wbce` against the similarities, or `infonce` against the identity.
        masks: dropout masks and how to blend the pairs, or None for neither.
    """
    images, texts, similarity = batch
    if masks is not None and masks.blend is not None:
        images, texts = masks.blend.of(images), masks.blend.of(texts)
    embedded = embed_images(model, parameters, images, masks)
    return embedded_pair_loss(model, parameters, (embedded, texts, similarity), loss, masks)


def embed_images(model: DualEncoder, parameters: Parameters, images: Tensor, masks: DropoutMasks | None) -> Tensor:
    """Return image embeddings (pairs, width) under `parameters`."""
    return functional_call(model, parameters, (images, None, masks))[0]


def embedded_pair_loss(
    model: DualEncoder,
    parameters: Parameters,
    batch: tuple[Tensor, Tensor, Tensor | None],
    loss: LossName,
    masks: DropoutMasks | None,
) -> Tensor:
    """Return the same loss as `pair_loss`, of image embeddings (pairs, width) in place of image inputs."""
    embedded, texts, similarity = batch
    v = functional_call(model, parameters, (None, texts, masks))[1]
    return loss_of_embeddings(embedded, v, similarity, loss, model.info_nce)


def loss_of_embeddings(
    images: Tensor, texts: Tensor, similarity: Tensor | None, loss: LossName, directions: InfoNCE
) -> Tensor:
    """Return the loss of embeddings.

    Args:
        images: embeddings (pairs, width).
        texts: embeddings (pairs, width).
        similarity: for `wbce`, the similarities (pairs, pairs).
        loss: `wbce` or `infonce`.
        directions: how `infonce` puts its two directions together.
    """
    logits = cosine_logits(images, texts)
    if loss == "infonce":
        return info_nce(logits, directions)
    if similarity is None:
        raise ValueError("the wbce loss needs the similarities of the mini-batch")
    return weighted_bce(logits, similarity)


def embed_split(model: DualEncoder, parameters: Parameters, split: EncodedSplit) -> tuple[Tensor, Tensor]:
    """Return embeddings (images, width) and (captions, width) of a whole split, without dropout."""
    return embed_all_images(model, parameters, split), embed_texts(model, parameters, split.text_batches())


@torch.no_grad()
def embed_all_images(model: DualEncoder, parameters: Parameters, split: EncodedSplit) -> Tensor:
    """Return embeddings (images, width) of a whole split, without dropout."""
    return torch.cat([functional_call(model, parameters, (batch, None))[0] for batch in split.image_batches()])


@torch.no_grad()
def embed_texts(model: DualEncoder, parameters: Parameters, batches: Iterable[Tensor]) -> Tensor:
    """Return embeddings (texts, width) of the text encoder's, which come in batches (texts, text width)."""
    return torch.cat([functional_call(model, parameters, (None, batch))[1] for batch in batches])
