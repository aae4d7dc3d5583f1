r"""NCFM's objective on pairs (Appendix E of arXiv 2603.25388): clusters are compared by their characteristic functions.

The characteristic function of joint features z is Phi(t) = E exp(i <t, z>). For each cluster, the real and the
distilled pairs' are compared at random frequencies t:

    mean_t sqrt(alpha (|Phi| - |Phi'|)^2 + (1 - alpha) 2 |Phi| |Phi'| (1 - cos(phase difference)))

At alpha = 1/2 that is |Phi - Phi'| / sqrt 2. As in the authors' code the loss is 300 times that, and clusters take
turns: each has a step of the optimiser of its own, in which the moments of the other clusters' pairs go on. Frequencies
are Gaussian; the scale of every dimension is learned against the pairs, where the original has a network.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import normalize

from pairstill.config import CharacteristicConfig
from pairstill.core.rng import make_generator
from pairstill.distill.bilevel.inner_loop import InnerData
from pairstill.distill.learned import Learned, Parametrisation, Variable
from pairstill.distill.objective import Stateless, Step, differentiated
from pairstill.model.dual_encoder import DualEncoder, Parameters

EPSILON = 1e-12
FACTOR = 300.0
"""Of the distance in the loss, as in the authors' code."""


def characteristic_distance(real: Tensor, distilled: Tensor, frequencies: Tensor, alpha: float) -> Tensor:
    """Return the mean difference of two samples' characteristic functions, a scalar.

    Args:
        real: (samples, width).
        distilled: (other samples, width).
        frequencies: (frequencies, width).
        alpha: weight of the amplitudes against the phases.

    Example:
        >>> x = torch.tensor([[1.0], [2.0]])
        >>> float(characteristic_distance(x, x, torch.ones(1, 1), 0.5)) < 1e-5
        True
    """

    def parts(sample: Tensor) -> tuple[Tensor, Tensor]:
        angles = sample @ frequencies.T
        return angles.cos().mean(0), angles.sin().mean(0)

    (a, b), (c, d) = parts(real), parts(distilled)
    first, second = (a.square() + b.square() + EPSILON).sqrt(), (c.square() + d.square() + EPSILON).sqrt()
    amplitude = (first - second).square()
    # |Phi| |Phi'| cos(phase difference) is the real part of Phi times the conjugate of Phi'
    phase = 2 * (first * second - (a * c + b * d))
    return (alpha * amplitude + (1 - alpha) * phase).clamp_min(EPSILON).sqrt().mean()


def cluster(features: Tensor, clusters: int, seed: int) -> Tensor:
    """Return the cluster of each row by mini-batch k-means, (rows,)."""
    means = MiniBatchKMeans(clusters, random_state=seed, batch_size=1024)
    found = means.fit_predict(features.numpy())
    return torch.from_numpy(found).long()


def draw_from_clusters(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw rows from all clusters in turn until there are `count`, passing over clusters that are used up, (count,)."""
    queues = [
        rows[torch.randperm(len(rows), generator=generator)].tolist()
        for rows in ((labels == label).nonzero().flatten() for label in labels.unique())
    ]
    chosen: list[int] = []
    while len(chosen) < count:
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop())
    return torch.tensor(chosen)


def joint_embedding(model: DualEncoder, parameters: Parameters) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what gives joint features (pairs, 2 width) of (image inputs, text embeddings), differentiable."""

    def embed(images: Tensor, texts: Tensor) -> Tensor:
        sides = functional_call(model, parameters, (images, texts))
        return torch.cat([normalize(side, dim=1) for side in sides], 1)

    return embed


SCALES = "adversary/log_scales"
"""The name, among all that is learned, of the logarithms of the frequencies' scales."""


@dataclass(frozen=True)
class CharacteristicObjective(Stateless):
    """The objective on joint features of a trained teacher.

    Attributes:
        pairs: what the pairs are made of.
        embed: joint features (pairs, width) of (image inputs, text embeddings), differentiable.
        real: joint features of real pairs (real pairs, width).
        real_labels: their clusters.
        labels: the clusters of the distilled pairs.
        config: the settings.
        seed: of the distillation.
        number: the phase's number, from 1.
    """

    pairs: Parametrisation
    embed: Callable[[Tensor, Tensor], Tensor]
    real: Tensor
    real_labels: Tensor
    labels: Tensor
    config: CharacteristicConfig
    seed: int
    number: int = 1

    def variables(self) -> dict[str, Variable]:
        """Return what the pairs are made of, and against them the logarithms of the frequencies' scales, (width,)."""
        scales = Variable(torch.zeros(self.real.shape[1]), self.config.lr_sampler, ascends=True)
        return {**self.pairs.variables(), SCALES: scales}

    def step(self, values: Learned, number: int) -> Iterator[Step]:
        """Return a move for every cluster that has pairs; those of the others are not seen, and have no gradient."""
        for turn, label in enumerate(self.labels.unique().tolist()):
            rows = (self.labels == label).nonzero().flatten()
            data = self.pairs.render(values, rows).data
            generator = make_generator(self.seed, "phase", self.number, "step", number, "turn", turn)
            distance = self.distance(data, label, values[SCALES], generator)
            yield differentiated({"characteristic": FACTOR * distance}, values)

    def distance(self, pairs: InnerData, label: int, log_scales: Tensor, generator: torch.Generator) -> Tensor:
        """Return how far a cluster's distilled pairs are from its real ones, a scalar.

        Args:
            pairs: the cluster's distilled pairs.
            label: the cluster.
            log_scales: logarithms of the frequencies' scales, (width,).
            generator: draws the frequencies, and the mini-batch of real pairs.
        """
        found = self.embed(pairs.images, pairs.texts)
        noise = torch.randn(self.config.frequencies, found.shape[1], generator=generator).to(found)
        frequencies = noise * log_scales.exp()
        rows = (self.real_labels == label).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)[: self.config.batch_size]]
        return characteristic_distance(self.real[rows].to(found), found, frequencies, self.config.alpha)
