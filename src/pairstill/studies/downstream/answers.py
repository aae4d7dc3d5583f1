"""A trained student on tasks beside retrieval (Table 5 of arXiv 2603.25388), without further training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pairstill.config import CaptionForm
from pairstill.data.tasks.cocoqa import Questions, answer_texts
from pairstill.encoders.split import EncodedSplit
from pairstill.encoders.text import TextEncoder
from pairstill.model.dual_encoder import DualEncoder, Parameters
from pairstill.model.functional import embed_all_images, embed_split, embed_texts
from pairstill.studies.downstream.accuracy import answer_scores, class_embeddings, right_ranks


def zero_shot_ranks(model: DualEncoder, parameters: Parameters, split: EncodedSplit, templates: int) -> Tensor:
    """Return the rank of the right class of every image, from 0, (images,).

    Args:
        model: the structure.
        parameters: a student's.
        split: the images; its texts are the prompts, class after class, and each "caption owner" is an image's class.
        templates: prompts of each class.
    """
    images, prompts = embed_split(model, parameters, split)
    classes = class_embeddings(prompts.unflatten(0, (-1, templates)))
    return right_ranks(F.normalize(images, dim=1) @ classes.T, split.caption_owner.to(images.device)).cpu()


@dataclass(frozen=True)
class Answering:
    """Students that answer questions about images; texts, which are many, are encoded once for all of them.

    Attributes:
        model: the structure.
        students: the parameters of each.
        text: the text tower.
        device: where texts are embedded.
        form: how captions are written, and so what is asked.
        questions_at_a_time: how many are encoded together; each has hundreds of candidate answers.
        texts_at_a_time: how many are embedded together.
    """

    model: DualEncoder
    students: Sequence[Parameters]
    text: TextEncoder
    device: torch.device
    form: CaptionForm
    questions_at_a_time: int = 16
    texts_at_a_time: int = 2048

    def image_embeddings(self, split: EncodedSplit) -> list[Tensor]:
        """Return the embeddings (images, width) of all images by each student."""
        return [embed_all_images(self.model, parameters, split) for parameters in self.students]

    def ranks(self, questions: Questions, images: Sequence[Tensor], start: int, stop: int) -> Tensor:
        """Return the rank of the right answer, from 0, by question and student, (questions, students).

        Args:
            questions: the questions.
            images: embeddings of their images by each student, (images, width) each.
            start: first question.
            stop: the one after the last.
        """
        step = self.questions_at_a_time
        chunks = (range(at, min(at + step, stop)) for at in range(start, stop, step))
        return torch.cat([self._ranks(questions, images, chunk) for chunk in chunks])

    def _ranks(self, questions: Questions, images: Sequence[Tensor], chunk: range) -> Tensor:
        asked = (answer_texts(questions.questions[i], questions.answers, self.form) for i in chunk)
        texts = self.text.encode([text for candidates in asked for text in candidates])
        image_of = torch.tensor([questions.image_of[i] for i in chunk])
        right = torch.tensor([questions.right[i] for i in chunk])
        ranks = []
        for parameters, embedded in zip(self.students, images, strict=True):
            answers = embed_texts(self.model, parameters, self._batches(texts)).unflatten(0, (len(chunk), -1))
            scores = answer_scores(embedded[image_of.to(embedded.device)], answers)
            ranks.append(right_ranks(scores, right.to(scores.device)).cpu())
        return torch.stack(ranks, 1)

    def _batches(self, texts: Tensor) -> Iterator[Tensor]:
        return (batch.to(self.device) for batch in texts.split(self.texts_at_a_time))
