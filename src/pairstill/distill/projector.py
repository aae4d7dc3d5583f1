r"""APM's objective: the closed-form projector of a few pairs should do what that of all real pairs does.

With features X (pairs, image width) and Y (pairs, text width), centred, and S_II = X^T X / n, S_IV = X^T Y / n,
S_VV = Y^T Y / n, the first and the last regularised, the projector is W = S_II^-1 S_IV S_VV^-1: an image x is embedded
as W^T x, beside texts. The loss is the InfoNCE of real pairs under the distilled pairs' projector, the square distance
of both projectors, and the divergence of both softened similarities of real pairs. The captions of the real images make
as many sub-sets as an image has captions, each with a projector of its own; they are the target in turn.

The digest that this follows leaves open how the parts are scaled and what the projectors' width is about. Here they are
on one scale: the distance is relative to the real projector's norm, and the divergence is multiplied by the square of
its temperature, which its gradient lacks. Embeddings are normalised. The width is that of the student in
closed form, which has two projectors (`Covariances.factors`); the loss takes W whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.config import InfoNCE, ProjectorConfig
from pairstill.core.rng import make_generator
from pairstill.distill.bilevel.inner_loop import InnerData
from pairstill.distill.learned import Learned, Parametrisation, Variable
from pairstill.distill.objective import Stateless, Step, differentiated
from pairstill.encoders.split import EncodedSplit
from pairstill.model.losses import cosine_logits, info_nce


def projector(images: Tensor, texts: Tensor, ridge: float) -> Tensor:
    """Return W = (S_II + r)^-1 S_IV (S_VV + r)^-1 of centred features, (image width, text width).

    With fewer pairs than dimensions a side is solved among the pairs: (X^T X / n + r)^-1 X^T = X^T (X X^T / n + r)^-1.

    Args:
        images: features (pairs, image width).
        texts: embeddings (pairs, text width).
        ridge: r, in units of the mean of each covariance's diagonal.
    """
    x, y = images - images.mean(0), texts - texts.mean(0)
    return _solved(x, ridge) @ _solved(y, ridge).T / len(x)


@dataclass(frozen=True)
class Covariances:
    """The covariances of centred features, and their means.

    Attributes:
        images: S_II (image width, image width).
        between: S_IV (image width, text width).
        texts: S_VV (text width, text width).
        image_mean: (image width,).
        text_mean: (text width,).
    """

    images: Tensor
    between: Tensor
    texts: Tensor
    image_mean: Tensor
    text_mean: Tensor

    @staticmethod
    def of(images: Tensor, texts: Tensor) -> "Covariances":
        """Return those of features (pairs, image width) and embeddings (pairs, text width)."""
        x, y = images - images.mean(0), texts - texts.mean(0)
        count = len(x)
        return Covariances(x.T @ x / count, x.T @ y / count, y.T @ y / count, images.mean(0), texts.mean(0))

    def factors(self, ridge: float, width: int) -> tuple[Tensor, Tensor]:
        """Return A (image width, width) and B (text width, width), whose product A B^T is W, or the best of its rank.

        With the singular values s of the whitened M = (S_II + r)^-1/2 S_IV (S_VV + r)^-1/2 = U s V^T, of which the
        largest are kept, A = (S_II + r)^-1/2 U s^1/2 and B = (S_VV + r)^-1/2 V s^1/2. Columns beyond them are zero.

        Args:
            ridge: r, as in `projector`.
            width: columns of each projector.
        """
        left, right = (torch.linalg.cholesky(_regularised(side, ridge)) for side in (self.images, self.texts))
        half = torch.linalg.solve_triangular(left, self.between, upper=False)
        whitened = torch.linalg.solve_triangular(right, half.T, upper=False).T
        u, values, v = torch.linalg.svd(whitened, full_matrices=False)
        kept = min(width, len(values))
        root = values[:kept].sqrt()
        a = torch.linalg.solve_triangular(left.T, u[:, :kept] * root, upper=True)
        b = torch.linalg.solve_triangular(right.T, v[:kept].T * root, upper=True)
        return F.pad(a, (0, width - kept)), F.pad(b, (0, width - kept))


def _regularised(covariance: Tensor, ridge: float) -> Tensor:
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return covariance + ridge * covariance.diagonal().mean() * identity


def _solved(centred: Tensor, ridge: float) -> Tensor:
    """Return (S + r)^-1 Z^T of centred features Z, (width, pairs)."""
    pairs, width = centred.shape
    if pairs >= width:
        return torch.linalg.solve(_regularised(centred.T @ centred / pairs, ridge), centred.T)
    inner = centred @ centred.T / pairs
    shift = ridge * inner.diagonal().sum() / width  # both have the same trace
    return torch.linalg.solve(inner + shift * torch.eye(pairs, dtype=inner.dtype, device=inner.device), centred).T


@dataclass(frozen=True)
class Target:
    """A sub-set of the real pairs, with one caption of every image.

    Attributes:
        captions: the numbers of its captions, (pairs,).
        image_mean: of its features.
        text_mean: of its captions' embeddings.
        projector: its W.
    """

    captions: Tensor
    image_mean: Tensor
    text_mean: Tensor
    projector: Tensor


def caption_subsets(owner: Tensor) -> list[Tensor]:
    """Return the numbers of the first caption of every image, of the second, and so on.

    An image with fewer captions than others begins again with its first.

    Args:
        owner: the image that each caption belongs to, (captions,).

    Example:
        >>> [subset.tolist() for subset in caption_subsets(torch.tensor([0, 0, 1]))]
        [[0, 2], [1, 2]]
    """
    order, counts = owner.argsort(stable=True), owner.bincount()
    counts = counts[counts > 0]
    starts = counts.cumsum(0) - counts
    return [order[starts + number % counts] for number in range(int(counts.max()))]


@dataclass(frozen=True)
class ProjectorObjective(Stateless):
    """The objective on fixed real features.

    Attributes:
        pairs: what the pairs are made of.
        split: the real pairs behind a frozen tower.
        targets: their sub-sets, each of which is the target of a step in turn.
        ridge: of all projectors.
        config: the settings.
        info_nce: how InfoNCE puts its two directions together.
        seed: of the distillation.
        number: the phase's number, from 1.
    """

    pairs: Parametrisation
    split: EncodedSplit
    targets: tuple[Target, ...]
    ridge: float
    config: ProjectorConfig
    info_nce: InfoNCE
    seed: int
    number: int = 1

    def variables(self) -> dict[str, Variable]:
        """Return what the pairs are made of."""
        return self.pairs.variables()

    def step(self, values: Learned, number: int) -> Iterator[Step]:
        """Return the one move of an outer step, with another sub-set's projector as the target in every step."""
        data = self.pairs.render(values).data
        generator = make_generator(self.seed, "phase", self.number, "step", number, "turn", 0)
        yield differentiated(self.losses(data, self.targets[number % len(self.targets)], generator), values)

    def losses(self, pairs: InnerData, target: Target, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the loss by part.

        Args:
            pairs: the distilled pairs.
            target: the sub-set of the real ones whose projector is wanted.
            generator: draws the mini-batch of real pairs.
        """
        found = projector(pairs.images, pairs.texts, self.ridge)
        drawn = torch.randperm(len(target.captions), generator=generator)[: self.config.batch_size]
        captions = target.captions[drawn]
        x = self.split.image_inputs(self.split.caption_owner[captions]) - target.image_mean
        y = self.split.texts(captions) - target.text_mean
        logits, wanted = cosine_logits(x @ found, y), cosine_logits(x @ target.projector, y)
        distance = (found - target.projector).square().sum() / target.projector.square().sum()
        divergence = softened_divergence(logits, wanted, self.config.temperature)
        return {
            "infonce": info_nce(logits, self.info_nce),
            "projector": self.config.weight * distance,
            "similarity": self.config.similarity_weight * divergence,
        }


def targets_of(split: EncodedSplit, ridge: float) -> tuple[Target, ...]:
    """Return the sub-sets of a split behind a frozen tower, with their projectors."""
    targets = []
    for captions in caption_subsets(split.caption_owner):
        images, texts = split.image_inputs(split.caption_owner[captions]), split.texts(captions)
        targets.append(Target(captions, images.mean(0), texts.mean(0), projector(images, texts, ridge)))
    return tuple(targets)


def softened_divergence(logits: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Return the divergence of softened similarities, the mean over both directions, times the temperature's square.

    Args:
        logits: (images, texts).
        wanted: what they should be, (images, texts).
        temperature: both are divided by it; the square makes up for what that takes from the gradient.
    """

    def one_way(found: Tensor, target: Tensor) -> Tensor:
        soft, soft_target = (F.log_softmax(side / temperature, 1) for side in (found, target))
        return F.kl_div(soft, soft_target, reduction="batchmean", log_target=True)

    return temperature**2 * (one_way(logits, wanted) + one_way(logits.T, wanted.T)) / 2
