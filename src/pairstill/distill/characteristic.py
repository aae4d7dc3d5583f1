r"""NCFM's objective on pairs (Appendix E of arXiv 2603.25388): clusters are compared by their characteristic functions.

The characteristic function of joint features z is Phi(t) = E exp(i <t, z>). For each cluster, the real and the
distilled pairs' are compared at random frequencies t:

    mean_t sqrt(alpha (|Phi| - |Phi'|)^2 + (1 - alpha) 2 |Phi| |Phi'| (1 - cos(phase difference)))

At alpha = 1/2 that is |Phi - Phi'| / sqrt 2. As in the authors' code the loss is 300 times that, and clusters take
turns: each has a step of the optimiser of its own, in which the moments of the other clusters' pairs go on. Frequencies
are Gaussian; the scale of every dimension is learned against the pairs, where the original has a network.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from pairstill.config import CharacteristicConfig
from pairstill.distill.direct import DirectStep

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


@dataclass(frozen=True)
class CharacteristicObjective:
    """The objective on joint features of a trained teacher.

    Attributes:
        embed: joint features (pairs, width) of (image inputs, text embeddings), differentiable.
        real: joint features of real pairs (real pairs, width).
        real_labels: their clusters.
        labels: the clusters of the distilled pairs.
        config: the settings.
    """

    embed: Callable[[Tensor, Tensor], Tensor]
    real: Tensor
    real_labels: Tensor
    labels: Tensor
    config: CharacteristicConfig

    @property
    def turns(self) -> int:
        """As many as there are clusters with pairs."""
        return len(self.labels.unique())

    def rows(self, turn: int) -> Tensor:
        """Return the numbers of the pairs of the cluster whose turn it is."""
        return (self.labels == self._label(turn)).nonzero().flatten()

    def _label(self, turn: int) -> int:
        return int(self.labels.unique()[turn])

    def adversary(self) -> dict[str, Tensor]:
        """Return the logarithms of the frequencies' scales, (width,)."""
        return {"log_scales": torch.zeros(self.real.shape[1])}

    def losses(self, step: DirectStep) -> dict[str, Tensor]:
        """Return 300 times the distance of the cluster whose turn it is."""
        found = self.embed(step.images, step.texts)
        noise = torch.randn(self.config.frequencies, found.shape[1], generator=step.generator).to(found)
        frequencies = noise * step.adversary["log_scales"].exp()
        rows = (self.real_labels == self._label(step.turn)).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=step.generator)[: self.config.batch_size]]
        distance = characteristic_distance(self.real[rows].to(found), found, frequencies, self.config.alpha)
        return {"characteristic": FACTOR * distance}
