"""The protocols: which epoch counts, over which seeds, and what a result records.

`strict` chooses every epoch and every rate on the validation split and reads the test split once. `paper` reports the
best epoch on the test split, which is optimistic: it exists so that published tables can be compared.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from pairstill.config import EvaluateConfig, StudentConfig, TeacherConfig
from pairstill.distilled import DistilledSet
from pairstill.encoders.split import EncodedSplit
from pairstill.errors import DataError
from pairstill.evaluate.retrieval import Recalls, retrieval_recalls
from pairstill.evaluate.student import StudentPhase, student_phases, train_student
from pairstill.model.dual_encoder import DualEncoder, ModelFactory, Parameters
from pairstill.model.functional import embed_split
from pairstill.rng import generator
from pairstill.trajectories.teacher import RealTraining, train_on_real_pairs


@dataclass(frozen=True)
class Splits:
    """The encoded splits.

    Attributes:
        train: the training split.
        val: the validation split, on which everything is chosen.
        test: the test split, read once by `strict`.
    """

    train: EncodedSplit
    val: EncodedSplit
    test: EncodedSplit


@dataclass(frozen=True)
class Outcome:
    """One trained model, measured.

    Attributes:
        recalls: on the test split.
        validation: mean recall of the chosen epoch on the validation split, or None under `paper`.
        epoch: the chosen epoch, over all phases.
        settings: settings that validation chose, such as the rates of a reference.
        seconds: time of training and of the choice, without encoding.
    """

    recalls: Recalls
    validation: float | None
    epoch: int
    settings: dict[str, float]
    seconds: float


def recalls_on(model: DualEncoder, parameters: Parameters, split: EncodedSplit) -> Recalls:
    """Return the recalls of a model on a split."""
    return retrieval_recalls(*embed_split(model, parameters, split), split.caption_owner)


@dataclass(frozen=True)
class Candidate:
    """One training at its best epoch, not yet measured on the test split.

    Attributes:
        parameters: at that epoch.
        recall: the mean recall that chose it.
        epoch: its number, over all phases.
        settings: what distinguishes it from other candidates, such as its rates.
        seconds: time of training and of the choice.
    """

    parameters: Parameters
    recall: float
    epoch: int
    settings: dict[str, float]
    seconds: float


def best_epoch(
    model: DualEncoder,
    epochs: Iterable[tuple[int, Parameters]],
    split: EncodedSplit,
    settings: dict[str, float] | None = None,
) -> Candidate:
    """Train by drawing from `epochs` and choose the first with the best mean recall on `split`."""
    began = time.perf_counter()
    chosen, best, at = {}, -1.0, 0
    for epoch, parameters in epochs:
        recall = recalls_on(model, parameters, split).mean
        if recall > best:
            best, at = recall, epoch
            chosen = {name: value.detach().clone() for name, value in parameters.items()}
    return Candidate(chosen, best, at, settings or {}, time.perf_counter() - began)


@dataclass(frozen=True)
class Bench:
    """Everything that a measurement needs besides the method.

    Attributes:
        factory: the model.
        tower: the frozen image tower, or None when the tower is trained.
        splits: the encoded splits.
        student: the students' settings.
        batch_size: pairs in a mini-batch of students on distilled pairs.
        teacher: the teachers' settings, whose rates the references start from.
        evaluate: the protocol and the references' settings.
        seed: seed of the run.
    """

    factory: ModelFactory
    tower: nn.Module | None
    splits: Splits
    student: StudentConfig
    batch_size: int
    teacher: TeacherConfig
    evaluate: EvaluateConfig
    seed: int

    def at_best_rates(self, distilled: DistilledSet, student: int) -> Outcome:
        """Measure a student trained with InfoNCE on pairs without learned rates, which validation chooses then."""
        return self._at_best_rates(
            student_phases(distilled.phases, "infonce", self.tower, self.factory.device), student
        )

    def distilled(self, distilled: DistilledSet, student: int) -> Outcome:
        """Measure a student trained on the distilled set."""
        phases = student_phases(distilled.phases, _loss(distilled.loss), self.tower, self.factory.device)
        return self._measured([self._student(phases, distilled.loss, student, self.batch_size)])

    def random(self, num_pairs: int, student: int) -> Outcome:
        """Measure a student trained with InfoNCE on random real pairs; each student has its own draw."""
        train = self.splits.train
        if num_pairs > train.num_images:
            raise DataError(
                f"{num_pairs} random pairs are asked for but the training split has {train.num_images} images; "
                "lower evaluate.references.random_pairs or the distilled pairs, or give more data"
            )
        draw = generator(self.seed, "random pairs", student)
        captions = train.epoch_order("sample", draw)[:num_pairs]
        images, texts = train.image_inputs(train.caption_owner[captions]), train.texts(captions)
        phase = StudentPhase(images, texts, None, self.teacher.lr_image, self.teacher.lr_text)
        return self._at_best_rates([phase], student)

    def _at_best_rates(self, phases: list[StudentPhase], student: int) -> Outcome:
        """Measure a student on real pairs, at the multiple of the teachers' rates that validation chooses."""
        candidates = []
        for scale in self.evaluate.references.rate_scales:
            lr_image, lr_text = self.teacher.lr_image * scale, self.teacher.lr_text * scale
            scaled = [replace(phase, lr_image=lr_image, lr_text=lr_text) for phase in phases]
            settings = {"lr_image": lr_image, "lr_text": lr_text}
            candidates.append(self._student(scaled, "infonce", student, self.teacher.batch_size, settings))
        return self._measured(candidates)

    def full(self, student: int) -> Outcome:
        """Measure a model trained with InfoNCE on all real pairs."""
        references = self.evaluate.references
        candidates = []
        for scale in references.rate_scales:
            training = replace(
                RealTraining.of_teacher(self.teacher),
                epochs=references.full_epochs or self.teacher.epochs,
                lr_image=self.teacher.lr_image * scale,
                lr_text=self.teacher.lr_text * scale,
                momentum=references.momentum,
                weight_decay=references.weight_decay,
            )
            model = self.factory.build()
            seed = (self.seed, "full", student)
            initial = self.factory.initial_parameters(*seed)
            epochs = train_on_real_pairs(self.factory, model, initial, self.splits.train, training, *seed)
            numbered = ((number, parameters) for number, (parameters, _) in enumerate(epochs, start=1))
            settings = {"lr_image": training.lr_image, "lr_text": training.lr_text}
            candidates.append(best_epoch(model, numbered, self._chooser, settings))
        return self._measured(candidates)

    def validate(self, distilled: DistilledSet) -> float:
        """Return the validation recall of one student at its best epoch of the last phase; never reads the test split.

        The earlier phases are finished: their best epoch would hide whether the last one gets better.
        """
        phases = student_phases(distilled.phases, _loss(distilled.loss), self.tower, self.factory.device)
        model = self.factory.build()
        seed = (self.seed, "validation student")
        epochs = train_student(
            self.factory, model, phases, _loss(distilled.loss), self.student, *seed, batch_size=self.batch_size
        )
        earlier = (len(phases) - 1) * self.student.epochs
        return max(recalls_on(model, now, self.splits.val).mean for epoch, now in epochs if epoch > earlier)

    @property
    def _chooser(self) -> EncodedSplit:
        """The split on which epochs and rates are chosen."""
        return self.splits.val if self.evaluate.protocol == "strict" else self.splits.test

    def _student(
        self,
        phases: list[StudentPhase],
        loss: str,
        student: int,
        batch_size: int,
        settings: dict[str, float] | None = None,
    ) -> Candidate:
        model = self.factory.build()
        seed = (self.seed, "student", student)
        epochs = train_student(self.factory, model, phases, _loss(loss), self.student, *seed, batch_size=batch_size)
        return best_epoch(model, epochs, self._chooser, settings)

    def _measured(self, candidates: list[Candidate]) -> Outcome:
        """Return the best candidate's recalls on the test split; of the others it is not read."""
        best = max(candidates, key=lambda candidate: candidate.recall)
        recalls = recalls_on(self.factory.build(), best.parameters, self.splits.test)
        validation = best.recall if self.evaluate.protocol == "strict" else None
        return Outcome(recalls, validation, best.epoch, best.settings, sum(c.seconds for c in candidates))


def _loss(name: str) -> Literal["wbce", "infonce"]:
    return "infonce" if name == "infonce" else "wbce"
