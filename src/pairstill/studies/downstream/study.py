"""Tasks beside retrieval: a run's students, trained as in the evaluation, on zero-shot classification and COCO-QA."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pairstill.core.provenance import commit
from pairstill.data.captions import caption_as
from pairstill.data.checks import Checking
from pairstill.data.tasks.cocoqa import TEMPLATE, Questions, read_cocoqa
from pairstill.data.tasks.labelled import LabelledImages, read_captions, read_folder, read_hub
from pairstill.data.tasks.settings import PLACE, CocoQa, ZeroShot
from pairstill.distilled import DistilledSet
from pairstill.encoders.cache import CachedRows, cached_rows
from pairstill.encoders.split import EncodedSplit
from pairstill.evaluate.ledger import Key, Record
from pairstill.evaluate.measurement import titled
from pairstill.run.context import RunContext
from pairstill.run.evaluate import MADE, about_pairs, distilled_set, key_of, row_name, students_of
from pairstill.storage import digest, write_text_atomic
from pairstill.studies.downstream.accuracy import accuracies
from pairstill.studies.downstream.answers import Answering, zero_shot_ranks
from pairstill.studies.downstream.students import ChosenStudent, chosen_student, student_key
from pairstill.studies.downstream.table import DownstreamRow, downstream_page, downstream_rows

SHARD_QUESTIONS = 64


@dataclass(frozen=True)
class _Job:
    """A student that is to be measured.

    Attributes:
        method: its row.
        key: what tells its record from others.
    """

    method: str
    key: Key

    @property
    def student(self) -> int:
        """Its number."""
        assert self.key.student is not None
        return self.key.student

    @property
    def about(self) -> dict[str, Any]:
        """What files say whose numbers are of it and others."""
        return {"method": self.method, "student": self.student, "key": self.key.measured_as}

    @property
    def name(self) -> str:
        """What stands for it where files are named."""
        return f"{self.key.measured_as} {self.student}"


class _TaskEvaluator:
    """What both tasks work with: the run's context, its pairs, and the lines that are kept."""

    def __init__(self, context: RunContext, facts: dict[str, Any]) -> None:
        """Look up which students are still to be measured on the task that `facts` describe."""
        self.context, self.facts = context, facts
        evaluate = context.config.evaluate
        self.distilled: DistilledSet | None = distilled_set(context) if MADE & set(evaluate.methods) else None
        self.ledger = context.folder.ledger("downstream")
        self.first = {method: self._key(method) for method in evaluate.methods}
        jobs = [(method, student) for method in evaluate.methods for student in students_of(context, method)]
        keys = [(method, replace(self.first[method], student=student)) for method, student in jobs]
        self.jobs = [_Job(method, key) for method, key in keys if self.ledger.find(key) is None]

    def _key(self, method: str) -> Key:
        """Return the key of a row's first student."""
        measured = digest(student_key(self.context, method), json.dumps(self.facts, sort_keys=True))[:16]
        row = row_name(self.context, method)
        key = key_of(self.context, "downstream", method, 0, row=row, measured_as=measured)
        return replace(key, test_data=self.facts["fingerprint"])

    def student(self, job: _Job) -> ChosenStudent:
        """Return the student of a job, trained if need be."""
        return chosen_student(self.context, job.method, job.student, self.distilled)

    def keep(self, job: _Job, chosen: ChosenStudent, measured: dict[str, Any]) -> None:
        """Keep what was measured of a student."""
        facts = {
            **about_pairs(self.context, job.method, self.distilled),
            **measured,
            **chosen.facts,
            **{name: fact for name, fact in self.facts.items() if name != "fingerprint"},  # the key has it
            "config": str(self.context.folder.path / "config.yaml"),
            "commit": commit(),
        }
        self.ledger.add(Record.new(job.key, facts))

    def rows(self) -> list[DownstreamRow]:
        """Return the task's rows, and write the page of the task."""
        found = (record for key in self.first.values() for record in self.ledger.students(key))
        rows = downstream_rows(titled(self.context.config, record.facts) for record in found)
        page = self.context.folder.path / f"downstream_{self.facts['task']}.md"
        write_text_atomic(page, downstream_page(rows, self.facts))
        return rows


def _strict(context: RunContext) -> RunContext:
    """Return the context with the protocol `strict`: students are chosen on the validation split of retrieval."""
    return context.with_config(replace(context.config, evaluate=replace(context.config.evaluate, protocol="strict")))


def measure(context: RunContext, task: ZeroShot | CocoQa) -> list[DownstreamRow]:
    """Measure every student that is not measured yet on a task, write its page, and return its rows.

    Raises:
        ArtifactError: the run has no distilled set.
        DataError: the task's images, classes or questions cannot be had.
    """
    context.config.check_one_tower("`pairstill downstream`")
    context = _strict(context)
    match task:
        case ZeroShot():
            return _zero_shot(context, task)
        case CocoQa():
            return _cocoqa(context, task)


def _zero_shot(context: RunContext, task: ZeroShot) -> list[DownstreamRow]:
    images = _labelled(context, task)
    facts = {
        "task": "zeroshot",
        "data": images.rule,
        "fingerprint": images.fingerprint,
        "items": len(images.paths),
        "candidates": len(images.class_names),
        "classes": list(images.class_names),
        "class_seed": task.class_seed if task.num_classes is not None else None,
        "templates": list(task.templates),
    }
    evaluator = _TaskEvaluator(context, facts)
    if evaluator.jobs:
        split = _encoded(context, images, task)
        classes = [images.class_names[label] for label in images.labels]
        with context.timed("downstream"), context.counting("Zero-shot: students", len(evaluator.jobs)) as tally:
            for job in evaluator.jobs:
                chosen = evaluator.student(job)
                ranks = zero_shot_ranks(context.factory.build(), chosen.parameters, split, len(task.templates))
                evaluator.keep(job, chosen, _measured(ranks, len(images.class_names), classes))
                tally.advance()
    return evaluator.rows()


def _checking(context: RunContext) -> Checking:
    data = context.config.data
    return Checking(context.cache_dir, data.max_pixels, data.background, context.config.verify)


def _labelled(context: RunContext, task: ZeroShot) -> LabelledImages:
    match task.source:
        case "folder":
            return read_folder(task, _checking(context))
        case "huggingface":
            return read_hub(task, _checking(context))
        case "captions":
            return read_captions(task, context.manifest)


def _encoded(context: RunContext, images: LabelledImages, task: ZeroShot) -> EncodedSplit:
    """Return the images with the prompts as texts and the classes as owners, as `zero_shot_ranks` takes them."""
    written = [template.replace(PLACE, name) for name in images.class_names for template in task.templates]
    prompts = [caption_as(context.config.data.captions, prompt) for prompt in written]
    with context.encoding("the classes") as encoding:
        return EncodedSplit(
            images=encoding.images(images.paths, images.digests, "zero-shot classification"),
            text_embeddings=encoding.texts(prompts, "zero-shot classification"),
            caption_owner=torch.tensor(images.labels),
            spec=context.image.spec,
            device=context.device,
        )


def _cocoqa(context: RunContext, task: CocoQa) -> list[DownstreamRow]:
    questions = read_cocoqa(task, _checking(context))
    facts = {
        "task": "cocoqa",
        "data": f"COCO-QA {task.split}",
        "fingerprint": questions.fingerprint,
        "items": len(questions.questions),
        "candidates": len(questions.answers),
        "question_seed": task.question_seed if task.max_questions is not None else None,
        "template": TEMPLATE,
    }
    evaluator = _TaskEvaluator(context, facts)
    if evaluator.jobs:
        with context.timed("downstream"):
            _answer(evaluator, questions)
    return evaluator.rows()


def _answer(evaluator: _TaskEvaluator, questions: Questions) -> None:
    """Let all students answer together, and keep what they get right."""
    context = evaluator.context
    with context.counting("COCO-QA: students", len(evaluator.jobs)) as tally:
        students: list[ChosenStudent] = []
        for job in evaluator.jobs:
            students.append(evaluator.student(job))
            tally.advance()
    ranks = _answer_ranks(evaluator, questions, students)
    for place, (job, chosen) in enumerate(zip(evaluator.jobs, students, strict=True)):
        evaluator.keep(job, chosen, _measured(ranks[:, place], len(questions.answers), questions.types))


def _answer_ranks(evaluator: _TaskEvaluator, questions: Questions, students: list[ChosenStudent]) -> Tensor:
    """Return the ranks (questions, students); those of a killed run are read, not computed again."""
    context = evaluator.context
    parameters = [chosen.parameters for chosen in students]
    answering = Answering(
        context.factory.build(), parameters, context.text, context.device, context.config.data.captions
    )
    with context.encoding("COCO-QA") as encoding:
        rows = encoding.images(questions.paths, questions.digests, "COCO-QA")
    nothing = CachedRows([torch.empty(0, context.text.spec.width)])
    split = EncodedSplit(rows, nothing, torch.empty(0, dtype=torch.int64), context.image.spec, context.device)
    images = answering.image_embeddings(split)
    name = digest(*(job.name for job in evaluator.jobs))[:16]
    with context.display.bars():
        return cached_rows(
            context.folder.path / "downstream" / name,
            len(questions.questions),
            lambda start, stop: answering.ranks(questions, images, start, stop),
            about={
                "kind": "ranks by question and student",
                "jobs": [job.about for job in evaluator.jobs],
            },
            shard_rows=SHARD_QUESTIONS,
            what="COCO-QA: questions",
            emit=context.emit,
        ).all()


def _measured(ranks: Tensor, candidates: int, groups: Sequence[str]) -> dict[str, Any]:
    """Return the accuracies, and ACC@1 of each group of items: classes, or types of questions."""
    found = asdict(accuracies(ranks, candidates))
    hits: dict[str, list[bool]] = {}
    for group, rank in zip(groups, ranks.tolist(), strict=True):
        hits.setdefault(group, []).append(rank == 0)
    return {
        **{name: None if value is None else round(value, 4) for name, value in found.items()},
        "top1_by_group": {group: round(100 * sum(of) / len(of), 4) for group, of in sorted(hits.items())},
        "items_by_group": {group: len(of) for group, of in sorted(hits.items())},
    }
