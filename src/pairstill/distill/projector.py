r"""APM's objective: the closed-form projector of a few pairs should do what that of all real pairs does.

With features X (pairs, image width) and Y (pairs, text width), centred, and S_II = X^T X / n, S_IV = X^T Y / n,
S_VV = Y^T Y / n, both regularised, the projector is W = S_II^-1 S_IV S_VV^-1: an image x is embedded as W^T x, beside
texts. The loss is the InfoNCE of real pairs under the distilled pairs' projector, the distance of both projectors, and
the divergence of both softened similarities of real pairs. The digest that this follows leaves open how the parts are
scaled; here the distance is relative to the real projector's norm, embeddings are normalised, and the projector has
full rank.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.config import InfoNCE, ProjectorConfig
from pairstill.distill.direct import DirectStep
from pairstill.encoders.split import EncodedSplit
from pairstill.model.losses import cosine_logits, info_nce


def projector(images: Tensor, texts: Tensor, ridge: float) -> Tensor:
    """Return W = (S_II + r)^-1 S_IV (S_VV + r)^-1 of centred features, (image width, text width).

    Args:
        images: features (pairs, image width).
        texts: embeddings (pairs, text width).
        ridge: r, in units of the mean of each covariance's diagonal.
    """
    x, y = images - images.mean(0), texts - texts.mean(0)

    def covariance(a: Tensor) -> Tensor:
        found = a.T @ a / len(a)
        return found + ridge * found.diagonal().mean() * torch.eye(a.shape[1], dtype=a.dtype, device=a.device)

    left = torch.linalg.solve(covariance(x), x.T @ y / len(x))
    return torch.linalg.solve(covariance(y), left.T).T


@dataclass(frozen=True)
class ProjectorObjective:
    """The objective on fixed real features.

    Attributes:
        images: all real features, one row for each caption's image (captions, image width).
        texts: the captions' embeddings (captions, text width).
        target: the projector of all of them.
        config: the settings.
        info_nce: how InfoNCE puts its two directions together.
    """

    images: Tensor
    texts: Tensor
    target: Tensor
    config: ProjectorConfig
    info_nce: InfoNCE = "mean"

    @staticmethod
    def of(split: EncodedSplit, config: ProjectorConfig, directions: InfoNCE = "mean") -> "ProjectorObjective":
        """Return the objective of a split behind a frozen tower."""
        captions = torch.arange(split.num_captions)
        images, texts = split.image_inputs(split.caption_owner), split.texts(captions)
        return ProjectorObjective(images, texts, projector(images, texts, config.ridge), config, directions)

    def adversary(self) -> dict[str, Tensor]:
        """Nothing is learned against the pairs."""
        return {}

    def losses(self, step: DirectStep) -> dict[str, Tensor]:
        """Return the loss by part."""
        found = projector(step.images, step.texts, self.config.ridge)
        drawn = torch.randperm(len(self.texts), generator=step.generator)[: self.config.batch_size]
        drawn = drawn.to(self.texts.device)
        x, y = self.images[drawn] - self.images.mean(0), self.texts[drawn] - self.texts.mean(0)
        logits, wanted = cosine_logits(x @ found, y), cosine_logits(x @ self.target, y)
        heat = self.config.temperature
        return {
            "infonce": info_nce(logits, self.info_nce),
            "projector": self.config.weight * (found - self.target).square().sum() / self.target.square().sum(),
            "similarity": F.kl_div(
                F.log_softmax(logits / heat, 1), F.log_softmax(wanted / heat, 1), reduction="batchmean", log_target=True
            ),
        }
