"""What a page shows of the real pairs: where distilled pairs started, what they are near to, what a student finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pairstill.core.rng import make_generator
from pairstill.data.loader import Resizing, read_images
from pairstill.distilled import DistilledPhase, DistilledSet
from pairstill.evaluate.answers import Answer, answers, draw
from pairstill.evaluate.retrieval import retrieval_ranks
from pairstill.events import Notice
from pairstill.model.functional import embed_split
from pairstill.report.gallery import LARGE_SIDE, Real, nearest_captions
from pairstill.report.page import Question, Retrieval, ShownHit
from pairstill.report.pictures import data_uri
from pairstill.run.context import RunContext
from pairstill.run.evaluate import strict_key
from pairstill.run.rates import choose_rates, course_on_pairs

QUERIES = 6
STUDENT = 0


@dataclass(frozen=True)
class Captions:
    """All training captions: texts, embeddings (captions, width), and the number of each image's caption."""

    texts: Sequence[str]
    embeddings: Tensor
    number: dict[tuple[str, str], int]
    path: dict[str, Path]
    background: str


def training_captions(context: RunContext) -> Captions:
    """Return the captions of the training split."""
    manifest = context.manifest
    pairs = [(record.image, caption) for record in manifest.split("train") for caption in record.captions]
    return Captions(
        [caption for _, caption in pairs],
        torch.cat([batch.cpu() for batch in context.splits.train.text_batches()]),
        {pair: number for number, pair in enumerate(pairs)},
        {image: manifest.image_root / image for image, _ in pairs},
        manifest.background,
    )


def real_of(phase: DistilledPhase, captions: Captions, resizing: Resizing) -> Real:
    """Return where a phase started, unless that was noise, and the captions that its texts are near to."""
    near = nearest_captions(phase.text_embeddings, captions.embeddings, captions.texts)
    if not all(phase.sources):
        return Real(near)
    started = [captions.number[pair] for pair in zip(phase.sources, phase.captions, strict=True)]
    paths = [captions.path[source] for source in phase.sources]
    pixels = read_images(paths, phase.images.shape[-1], resizing, background=captions.background)
    return Real(near, pixels.float() / 255, captions.embeddings[started])


def retrieval_examples(context: RunContext, distilled: DistilledSet) -> Retrieval:
    """Return what a student finds for queries drawn from the test split."""
    context.emit(Notice(text="Training a student for the retrieval examples", quiet=True))
    course = course_on_pairs(context.config, context.evaluator, distilled)
    chosen = context.evaluator.trained(course, STUDENT, choose_rates(context, course, strict_key(context, "distilled")))
    test = context.splits.test
    images, texts = (side.cpu() for side in embed_split(context.factory.build(), chosen.parameters, test))
    recall = retrieval_ranks(images, texts, test.caption_owner).recalls.mean
    by_caption = draw(QUERIES, len(texts), make_generator("report", "captions"))
    by_image = draw(QUERIES, len(images), make_generator("report", "images"))
    own_image = test.caption_owner[by_caption].unsqueeze(1) == torch.arange(len(images))
    own_captions = test.caption_owner.unsqueeze(0) == by_image.unsqueeze(1)
    show = _Shown(context)
    tower = "" if context.one_of is None else f", behind {context.one_of.label}"
    return Retrieval(
        f"Student {STUDENT} of the distilled pairs{tower}, trained again for this page as it was for the table; its "
        f"mean recall is {recall:.1f}. The queries are drawn at random from the test split.",
        [show.by_caption(answer, len(images)) for answer in answers(texts, by_caption, images, own_image)],
        [show.by_image(answer, len(texts)) for answer in answers(images, by_image, texts, own_captions)],
        min(LARGE_SIDE, context.image.spec.size),
    )


class _Shown:
    """Answers with the pictures and captions of the test split."""

    def __init__(self, context: RunContext) -> None:
        self._paths, self._captions = context.manifest.image_paths("test"), context.manifest.captions("test")
        self._spec, self._background = context.image.spec, context.manifest.background

    def _picture(self, image: int) -> str:
        spec = self._spec
        pixels = read_images([self._paths[image]], spec.size, spec.resizing, background=self._background)
        return data_uri(pixels[0], LARGE_SIDE)

    def by_caption(self, answer: Answer, total: int) -> Question:
        hits = [ShownHit(self._picture(hit.index), "", hit.score, hit.right) for hit in answer.hits]
        return Question("", self._captions[answer.query], hits, answer.rank, total)

    def by_image(self, answer: Answer, total: int) -> Question:
        hits = [ShownHit("", self._captions[hit.index], hit.score, hit.right) for hit in answer.hits]
        return Question(self._picture(answer.query), "", hits, answer.rank, total)
