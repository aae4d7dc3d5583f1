"""COCO-QA in its original files: questions about COCO's images, each with an answer of one word."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pairstill.config import MAX_CAPTION_WORDS, CaptionForm
from pairstill.core.errors import DataError, list_problems
from pairstill.core.rng import make_generator
from pairstill.data.captions import caption_as
from pairstill.data.checks import Checking, check_images
from pairstill.data.inside import path_of, read_inside
from pairstill.data.tasks.settings import CocoQa
from pairstill.storage import digest

SPLITS = ("train", "test")
FILES = ("questions.txt", "answers.txt", "img_ids.txt", "types.txt")
TYPES = ("object", "number", "color", "location")
TEMPLATE = "Question: {question} Answer: {answer}."
IMAGE = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{12})\.(?:jpg|jpeg|png)", re.IGNORECASE)


@dataclass(frozen=True)
class Questions:
    """Questions with their images and right answers.

    Attributes:
        questions: as written.
        right: the right answer of each, as its index in `answers`.
        types: the type of each, one of `TYPES`.
        image_of: the image of each, as its index in `paths`.
        answers: the candidates, all different.
        paths: the image files.
        digests: SHA-256 of their content.
    """

    questions: tuple[str, ...]
    right: tuple[int, ...]
    types: tuple[str, ...]
    image_of: tuple[int, ...]
    answers: tuple[str, ...]
    paths: tuple[Path, ...]
    digests: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over questions, answers, candidates and the images' contents, in order."""
        images = (self.digests[image] for image in self.image_of)
        rights = (self.answers[right] for right in self.right)
        return digest(*self.answers, *self.questions, *rights, *images)


def read_cocoqa(task: CocoQa, checking: Checking) -> Questions:
    """Return the questions of a split, or a random draw of them.

    The candidates are the different answers of all splits that are there, in alphabetical order.

    Raises:
        DataError: a file is missing, the files differ in length, a line is not what it should be, or images are
            missing, there twice or bad.
    """
    root = path_of(str(task.root), "cocoqa.root")
    splits = {name: _read_split(root, name) for name in SPLITS if name == task.split or (root / name).is_dir()}
    answers = sorted({answer for lines in splits.values() for _, answer, _, _ in lines})
    lines = splits[task.split]
    if task.max_questions is not None and task.max_questions < len(lines):
        order = torch.randperm(len(lines), generator=make_generator(task.question_seed, "questions")).tolist()
        lines = [lines[place] for place in sorted(order[: task.max_questions])]
    identities = sorted({image for _, _, image, _ in lines})
    folder = path_of(str(task.images), "cocoqa.images")
    files = _find_images(folder, identities)
    checks = list(check_images(folder, files, checking))
    problems = [f"{file} {check.problem}" for file, check in zip(files, checks, strict=True) if check.problem]
    if problems:
        raise DataError(f"{len(problems)} images of {folder} cannot be used:\n{list_problems(problems)}")
    index_of = {image: index for index, image in enumerate(identities)}
    place_of = {answer: place for place, answer in enumerate(answers)}
    return Questions(
        questions=tuple(question for question, _, _, _ in lines),
        right=tuple(place_of[answer] for _, answer, _, _ in lines),
        types=tuple(TYPES[kind] for _, _, _, kind in lines),
        image_of=tuple(index_of[image] for _, _, image, _ in lines),
        answers=tuple(answers),
        paths=tuple(folder / file for file in files),
        digests=tuple(check.digest for check in checks),
    )


def _read_split(root: Path, split: str) -> list[tuple[str, str, int, int]]:
    """Return question, answer, image and type of every line."""
    folder = root / split
    columns: list[list[str]] = []
    for name in FILES:
        try:
            columns.append(read_inside(root, f"{split}/{name}").decode("utf-8-sig").splitlines())
        except (DataError, UnicodeDecodeError) as error:
            raise DataError(f"{folder / name} cannot be read ({error}); set cocoqa.root to COCO-QA's folder") from error
    if len({len(column) for column in columns}) != 1:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in zip(FILES, columns, strict=True))
        raise DataError(f"the files of {folder} have different numbers of lines ({lengths}); fetch them again")
    lines, problems = [], []
    for number, (question, answer, image, kind) in enumerate(zip(*columns, strict=True), start=1):
        question, answer, image, kind = question.strip(), answer.strip(), image.strip(), kind.strip()
        if question and answer and image.isdecimal() and kind in ("0", "1", "2", "3"):
            lines.append((question, answer, int(image), int(kind)))
        else:
            problems.append(f"line {number}: {question!r}, {answer!r}, image {image!r}, type {kind!r}")
    if problems or not lines:
        raise DataError(
            f"{folder} has lines without question, answer, a number of an image or a type from 0 to 3:\n"
            + list_problems(problems or ["there are no lines"])
        )
    return lines


def _find_images(folder: Path, identities: Sequence[int]) -> list[str]:
    """Return the file of each image, relative to `folder`."""
    wanted, found, twice = set(identities), {}, []
    for here, _, files in os.walk(folder):
        for file in files:
            match = IMAGE.fullmatch(file)
            if match is None or int(match[1]) not in wanted:
                continue
            path = str((Path(here) / file).relative_to(folder))
            if found.setdefault(int(match[1]), path) != path:
                twice.append(f"{int(match[1])}: {found[int(match[1])]} and {path}")
    missing = [str(image) for image in identities if image not in found]
    if missing:
        raise DataError(
            f"{len(missing)} images are not below {folder}, where image 42 would be COCO_val2014_000000000042.jpg or "
            f"000000000042.jpg; set cocoqa.images:\n{list_problems(missing)}"
        )
    if twice:
        raise DataError(f"images are there twice below {folder}; keep one of each:\n{list_problems(sorted(twice))}")
    return [found[image] for image in identities]


def answer_texts(question: str, answers: Sequence[str], form: CaptionForm) -> list[str]:
    """Return a question with each candidate answer, in the paper's template "Question: {question} Answer: {answer}.".

    Args:
        question: as written; where captions are cut at 30 words, it is cut so that an answer of any length follows
            within them.
        answers: the candidates.
        form: how captions are written.

    Example:
        >>> answer_texts("What is red?", ["ball"], "plain")
        ['question what is red answer ball']
    """
    kept = question
    if form != "as_they_are":
        room = MAX_CAPTION_WORDS - len(caption_as(form, TEMPLATE.format(question="", answer="")).split())
        room -= max(len(caption_as(form, answer).split()) for answer in answers)
        kept = " ".join(caption_as(form, question).split()[: max(room, 0)])
    return [caption_as(form, TEMPLATE.format(question=kept, answer=answer)) for answer in answers]
