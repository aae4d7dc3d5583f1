"""Whether methods differ: a paired bootstrap over the images of the test split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pairstill.core.errors import DataError
from pairstill.evaluate.retrieval import DEPTHS, QueryRanks

CHUNK_SCALARS = 1 << 22  # weights of images that are drawn at a time
CONFIDENCE = 0.95


@dataclass(frozen=True)
class ImageHits:
    """How often the queries that belong to each test image are hits, averaged over students.

    Attributes:
        captions: hits among the image's captions at 1, 5 and 10, (images, depths).
        images: hits of the image itself at 1, 5 and 10, between 0 and 1, (images, depths).
        num_captions: captions of each image, (images,).
    """

    captions: Tensor
    images: Tensor
    num_captions: Tensor

    @property
    def mean_recall(self) -> float:
        """Mean of the six recalls, in percent."""
        return float(mean_recalls(self, torch.ones(1, len(self.images), dtype=torch.float64)))


def image_hits(students: Sequence[QueryRanks], caption_owner: Tensor) -> ImageHits:
    """Return the hits by image, averaged over students.

    Args:
        students: the ranks of each student, at least one.
        caption_owner: the image that each caption belongs to, (captions,).
    """
    images = len(students[0].images)
    by_caption = torch.stack([_hits(student.captions) for student in students]).mean(0)
    of_images = torch.stack([_hits(student.images) for student in students]).mean(0)
    captions = torch.zeros_like(of_images).index_add_(0, caption_owner, by_caption)
    return ImageHits(captions, of_images, torch.bincount(caption_owner, minlength=images))


def _hits(ranks: Tensor) -> Tensor:
    """Return ones where a rank is below each depth, (queries, depths)."""
    return (ranks.unsqueeze(1) < torch.tensor(DEPTHS)).double()


def mean_recalls(hits: ImageHits, weights: Tensor) -> Tensor:
    """Return the mean of the six recalls in percent, (resamples,), with every image and its captions counted as often.

    Args:
        hits: by image.
        weights: how often each image counts, (resamples, images), float64.
    """
    of_captions = (weights @ hits.captions) / (weights @ hits.num_captions.double()).unsqueeze(1)
    of_images = (weights @ hits.images) / weights.sum(1, keepdim=True)
    return 100 * torch.cat([of_captions, of_images], 1).mean(1)


def resampled_recalls(
    methods: Sequence[ImageHits], resamples: int, generator: torch.Generator, *, scalars: int = CHUNK_SCALARS
) -> Tensor:
    """Return the mean recall of every method on the same resamples of the test images, (methods, resamples).

    A resample draws as many images as there are, with replacement; captions go with their image, and the gallery that
    the queries were ranked in stays whole. Because all methods see the same images, a difference between two rows is
    paired: what makes an image hard is hard for both.

    Args:
        methods: the hits of each method, on the same test split.
        resamples: how many to draw.
        generator: draws them.
        scalars: weights of images that are held at a time.

    Raises:
        DataError: the methods were not measured on the same images and captions.
    """
    first = methods[0]
    if any(not torch.equal(method.num_captions, first.num_captions) for method in methods):
        raise DataError("the methods were measured on other test images or captions; they cannot be paired")
    recalls = [
        torch.stack([mean_recalls(method, weights) for method in methods])
        for weights in image_weights(len(first.images), resamples, generator, scalars)
    ]
    return torch.cat(recalls, 1)


def image_weights(images: int, resamples: int, generator: torch.Generator, scalars: int) -> Iterator[Tensor]:
    """Yield how often each image is drawn, (some resamples, images), at most so many scalars at a time."""
    step = max(1, scalars // images)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = torch.randint(images, (rows, images), generator=generator)
        yield torch.zeros(rows, images, dtype=torch.float64).scatter_add_(1, drawn, torch.ones_like(drawn).double())


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty over what was resampled.

    Attributes:
        value: as measured.
        low: lower end of the 95 % interval (percentiles of the resamples).
        high: its upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """How far one method is ahead of another.

    Attributes:
        recall: difference of the mean recalls, in percentage points.
        p_value: two-sided: twice the share of resamples in which the other method is ahead or they are level, at most
            1; one more such resample is counted than there were, so that it is never 0.
        resamples: how many there were.
    """

    recall: Estimate
    p_value: float
    resamples: int

    @property
    def is_clear(self) -> bool:
        """Whether the 95 % interval leaves out zero."""
        return self.recall.low > 0 or self.recall.high < 0


def estimate(value: float, resampled: Tensor) -> Estimate:
    """Return a number with the interval of its resamples, (resamples,)."""
    tail = (1 - CONFIDENCE) / 2
    low, high = torch.quantile(resampled.double(), torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Estimate(value, low, high)


def difference(first: float, second: float, resampled_first: Tensor, resampled_second: Tensor) -> Difference:
    """Return how far the first method is ahead of the second.

    The interval tells of what was resampled: of other test images alone, or of other students, distillations and
    teachers as well; see `pairstill.evaluate.hierarchy`.

    Args:
        first: mean recall, in percent.
        second: mean recall, in percent.
        resampled_first: on resamples of the test images, (resamples,).
        resampled_second: on the same resamples, (resamples,).
    """
    by_resample = resampled_first - resampled_second
    opposite = min(int((by_resample <= 0).sum()), int((by_resample >= 0).sum()))
    p_value = min(1.0, 2 * (opposite + 1) / (len(by_resample) + 1))
    return Difference(estimate(first - second, by_resample), p_value, len(by_resample))
