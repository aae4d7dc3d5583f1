"""Coresets: rules that choose real pairs, by joint features of a trained teacher or by how often they are forgotten."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.core.errors import ConfigError, DataError
from pairstill.distill.initial import InitialPairs
from pairstill.distilled import DistilledPhase
from pairstill.encoders.split import EncodedSplit
from pairstill.model.dual_encoder import DualEncoder, Parameters
from pairstill.model.functional import embed_split

Rule = Literal["random", "herding", "k_center", "forgetting"]
FORGETTING_BATCH = 128


def candidates(split: EncodedSplit, wanted: int, generator: torch.Generator) -> Tensor:
    """Return one random caption of every image, in random order: the pairs that a rule chooses from, (images,).

    Raises:
        DataError: there are fewer images than pairs wanted.
    """
    if wanted > split.num_images:
        raise DataError(
            f"{wanted} pairs are asked for but the training split has {split.num_images} images; ask for fewer "
            "pairs or give more data"
        )
    return split.epoch_order("sample", generator)


def joint_features(model: DualEncoder, parameters: Parameters, split: EncodedSplit, captions: Tensor) -> Tensor:
    """Return the normalised embeddings of each pair's image and caption side by side, (pairs, 2 width)."""
    images, texts = (F.normalize(side, dim=1).cpu() for side in embed_split(model, parameters, split))
    return torch.cat([images[split.caption_owner[captions]], texts[captions]], 1)


def herding(features: Tensor, count: int) -> Tensor:
    """Choose rows whose mean follows the mean of all (Welling 2009), greedily: w grows by mean - x of the chosen.

    Args:
        features: (pairs, width).
        count: rows to choose.

    Returns:
        Row numbers in the order of choice, (count,).

    Example:
        >>> herding(torch.tensor([[0.0], [1.0], [5.0], [2.0]]), 1).tolist()  # the largest along the mean
        [2]
    """
    mean = features.mean(0)
    weight, open_rows, chosen = mean.clone(), torch.ones(len(features), dtype=torch.bool), []
    for _ in range(count):
        scores = (features @ weight).masked_fill(~open_rows, -torch.inf)
        row = int(scores.argmax())
        chosen.append(row)
        open_rows[row] = False
        weight += mean - features[row]
    return torch.tensor(chosen)


def k_center(features: Tensor, count: int) -> Tensor:
    """Choose rows so that the farthest row from its nearest chosen one is near: farthest first, from the most central.

    Args:
        features: (pairs, width).
        count: rows to choose.

    Returns:
        Row numbers in the order of choice, (count,).

    Example:
        >>> k_center(torch.tensor([[0.0], [1.0], [5.0], [2.5]]), 3).tolist()
        [3, 0, 2]
    """
    chosen = [int((features - features.mean(0)).norm(dim=1).argmin())]
    distance = (features - features[chosen[0]]).norm(dim=1)
    while len(chosen) < count:
        distance[chosen[-1]] = -1  # of several equal rows, one after the other
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (features - features[chosen[-1]]).norm(dim=1))
        distance[chosen] = -1
    return torch.tensor(chosen)


def retrieved(features: Tensor, batch_size: int = FORGETTING_BATCH) -> Tensor:
    """Return whether each pair's image and caption are each other's nearest in its mini-batch, in order, (pairs,).

    Args:
        features: joint features (pairs, 2 width).
        batch_size: pairs in a mini-batch, the last one may be smaller.
    """
    found = []
    for rows in features.split(batch_size):
        images, texts = rows.chunk(2, 1)
        scores = images @ texts.T
        own = torch.arange(len(rows))
        found.append((scores.argmax(0) == own) & (scores.argmax(1) == own))
    return torch.cat(found)


def forgetting_events(right: Iterable[Tensor]) -> Tensor:
    """Count how often each pair is right after one epoch and wrong after the next (Toneva et al. 2019), (pairs,).

    A pair that is never right counts as forgotten more often than any other.

    Args:
        right: whether each pair is right after each epoch, (pairs,) of truths.

    Example:
        >>> forgetting_events(torch.tensor([[True, True, False], [False, True, False], [True, True, False]])).tolist()
        [1, 0, 3]
    """
    history = torch.stack(list(right))
    events = (history[:-1] & ~history[1:]).sum(0)
    return torch.where(history.any(0), events, len(history))


def most_forgotten(events: Tensor, count: int) -> Tensor:
    """Return the rows with the most events, the earlier of equals first, (count,)."""
    return events.argsort(descending=True, stable=True)[:count]


def choose_rows(rule: Rule, count: int, epochs: Sequence[int], features: Callable[[int], Tensor]) -> Tensor:
    """Choose rows of the candidates by a rule, (count,).

    Args:
        rule: the rule.
        count: rows to choose.
        epochs: snapshots that the teacher keeps; `random` needs none, `forgetting` several.
        features: joint features of the candidates by the teacher after an epoch.

    Raises:
        ConfigError: the teacher keeps too few snapshots.
    """
    match rule:
        case "random":
            return torch.arange(count)
        case "herding":
            return herding(features(epochs[-1]), count)
        case "k_center":
            return k_center(features(epochs[-1]), count)
        case "forgetting":
            if len(epochs) < 2:
                raise ConfigError(
                    f"the teachers keep the snapshots {list(epochs)}, but forgetting is counted from one to the next; "
                    "set teacher.keep to all"
                )
            return most_forgotten(forgetting_events(retrieved(features(epoch)) for epoch in epochs), count)
        case _:
            assert_never(rule)


def coreset_phase(pairs: InitialPairs, lr_image: float, lr_text: float) -> DistilledPhase:
    """Return real pairs as a phase whose similarity is the identity.

    Args:
        pairs: the chosen pairs.
        lr_image: rate that students may start from on the image side.
        lr_text: the same for the text side.
    """
    return DistilledPhase(
        images=pairs.images,
        text_embeddings=pairs.text_embeddings,
        similarity_factors={},
        inner_lr_image=lr_image,
        inner_lr_text=lr_text,
        captions=pairs.captions,
        sources=pairs.sources,
    )
