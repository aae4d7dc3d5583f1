from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from pairstill.data.tasks.cocoqa import Questions, answer_texts
from pairstill.encoders.cache import CachedRows
from pairstill.encoders.text import HashedNgrams
from pairstill.evaluate.retrieval import retrieval_ranks
from pairstill.model.functional import embed_split
from pairstill.studies.downstream.answers import Answering, zero_shot_ranks

CPU = torch.device("cpu")


@pytest.mark.parametrize("trainable", [True, False])
def test_with_one_prompt_for_each_image_it_is_retrieval_of_texts(make_factory, make_split, trainable):
    factory = make_factory(trainable=trainable)
    model, parameters = factory.build(), factory.initial_parameters(0)
    split = make_split(images=8, captions=1, pixels=trainable)
    expected = retrieval_ranks(*embed_split(model, parameters, split), split.caption_owner).images
    found = zero_shot_ranks(model, parameters, split, templates=1)
    assert found.tolist() == expected.tolist() and len(set(found.tolist())) > 2


def test_prompts_of_a_class_are_averaged_as_directions(make_factory, make_split):
    factory = make_factory()
    model, parameters = factory.build(), factory.initial_parameters(0)
    split = make_split(images=9, captions=2)
    labels = torch.arange(9) % 6
    split = replace(split, text_embeddings=CachedRows([split.text_embeddings.all()[:12]]), caption_owner=labels)
    images, texts = embed_split(model, parameters, split)
    ranks = []
    for image, label in zip(images, labels.tolist(), strict=True):
        scores = []
        for first in range(0, 12, 2):
            mean = sum(F.normalize(texts[first + place], dim=0) for place in (0, 1))
            scores.append(float(F.cosine_similarity(image, mean, dim=0)))
        ranks.append(sum(score >= scores[label] for score in scores) - 1)
    assert zero_shot_ranks(model, parameters, split, templates=2).tolist() == ranks


def test_answers_are_ranked_for_each_question_by_each_student(make_factory, make_split):
    factory, text = make_factory(text_width=16), HashedNgrams(16)
    model, students = factory.build(), [factory.initial_parameters(seed) for seed in (0, 1)]
    split = make_split(images=3)
    questions = Questions(
        questions=("what is red", "how many", "where is it", "what runs", "what stands"),
        right=(0, 1, 2, 3, 3),
        types=("object",) * 5,
        image_of=(2, 0, 1, 1, 0),
        answers=("ball", "two", "beach", "dog"),
        paths=(Path("a"),) * 3,
        digests=("a", "b", "c"),
    )
    answering = Answering(model, students, text, CPU, "plain", questions_at_a_time=2, texts_at_a_time=3)
    embedded = answering.image_embeddings(split)
    found = answering.ranks(questions, embedded, 1, 5)
    assert found.shape == (4, 2) and len(set(found.flatten().tolist())) > 1
    for row, number in enumerate(range(1, 5)):
        texts = text.encode(answer_texts(questions.questions[number], questions.answers, "plain"))
        for column, parameters in enumerate(students):
            answers = model.text_head.__class__(16, factory.width).requires_grad_(False)
            answers.load_state_dict({k.removeprefix("text_head."): v for k, v in parameters.items() if "text_" in k})
            scores = F.cosine_similarity(answers(texts, None), embedded[column][questions.image_of[number]], dim=1)
            order = scores.argsort(descending=True).tolist()
            assert int(found[row, column]) == order.index(questions.right[number])
