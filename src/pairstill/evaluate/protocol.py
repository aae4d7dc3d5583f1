"""The protocols: which epoch counts, over which seeds, and what a result records.

`strict` chooses every epoch and every rate on the validation split and reads the test split once. `paper` reports the
best epoch on the test split, which is optimistic: it exists so that published tables can be compared. Both can be had
of the same training; nothing that the test split holds reaches the choice of `strict` then either.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import nn

from pairstill.config import EvaluateConfig, EvaluationProtocol, StudentConfig, TeacherConfig
from pairstill.core.errors import DataError
from pairstill.core.rng import make_generator
from pairstill.distilled import DistilledSet
from pairstill.encoders.split import EncodedSplit
from pairstill.evaluate.closed_form import ClosedForm, closed_form_parameters
from pairstill.evaluate.retrieval import QueryRanks, Recalls, retrieval_ranks
from pairstill.evaluate.student import Augmentation, StudentPhase, student_phases, train_student
from pairstill.model.dual_encoder import DualEncoder, ModelFactory, Parameters
from pairstill.model.functional import LossName, embed_split
from pairstill.teachers.training import RealTraining, train_on_real_pairs


@dataclass(frozen=True)
class Splits:
    """The encoded splits.

    Attributes:
        train: the training split.
        val: the validation split, on which everything is chosen.
        test: the test split, which `strict` reads once.
    """

    train: EncodedSplit
    val: EncodedSplit
    test: EncodedSplit


@dataclass(frozen=True)
class Outcome:
    """One trained model, as a protocol reports it.

    Attributes:
        protocol: the protocol.
        recalls: on the test split.
        validation: mean recall of the chosen epoch on the validation split, or None under `paper`.
        epoch: the chosen epoch, over all phases.
        settings: settings that validation chose, such as the rates of a reference.
        seconds: time of training and of the choice, without encoding.
        test_reads: how often recall was measured on the test split: once under `strict`, each epoch under `paper`.
        rates_tried: how many rates the choice was between; 1 where rates are given.
        ranks: of every query of the test split; the recalls are theirs.
        parameters: the model's.
    """

    protocol: EvaluationProtocol
    recalls: Recalls
    validation: float | None
    epoch: int
    settings: dict[str, float]
    seconds: float
    test_reads: int
    rates_tried: int
    ranks: QueryRanks = field(compare=False, repr=False)
    parameters: Parameters = field(compare=False, repr=False)


def ranks_on(model: DualEncoder, parameters: Parameters, split: EncodedSplit) -> QueryRanks:
    """Return the rank of the right answer to every query of a split."""
    return retrieval_ranks(*embed_split(model, parameters, split), split.caption_owner)


def recalls_on(model: DualEncoder, parameters: Parameters, split: EncodedSplit) -> Recalls:
    """Return the recalls of a model on a split."""
    return ranks_on(model, parameters, split).recalls


def mean_recall_of(model: DualEncoder) -> Callable[[Parameters, EncodedSplit], float]:
    """Return what measures the mean recall of parameters of a model on a split."""
    return lambda parameters, split: recalls_on(model, parameters, split).mean


@dataclass(frozen=True)
class Candidate:
    """One training at its best epoch, not yet measured on the test split.

    Attributes:
        parameters: at that epoch.
        recall: the mean recall that chose it.
        epoch: its number, over all phases.
        settings: what distinguishes it from other candidates, such as its rates.
        seconds: time of training and of the choice.
        reads: how often the split that chooses was read.
    """

    parameters: Parameters
    recall: float
    epoch: int
    settings: dict[str, float]
    seconds: float
    reads: int = 1


Split = TypeVar("Split")


def best_epochs(
    recall: Callable[[Parameters, Split], float],
    epochs: Iterable[tuple[int, Parameters]],
    choosers: Mapping[EvaluationProtocol, Split],
    settings: dict[str, float] | None = None,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[EvaluationProtocol, Candidate]:
    """Train by drawing from `epochs`, and choose for every protocol the first epoch with the best mean recall.

    Args:
        recall: returns the mean recall of parameters on a split.
        epochs: trains as it is drawn from, and yields each epoch's number and live parameters.
        choosers: the split that chooses, by protocol; each chooses by itself.
        settings: what the candidates are remembered by.
        clock: returns the seconds since some moment.

    Returns:
        The candidates by protocol; seconds and reads are those that the protocol alone would have taken.
    """
    chosen: dict[EvaluationProtocol, Candidate] = {}
    choosing = dict.fromkeys(choosers, 0.0)
    training, reads, began = 0.0, 0, clock()
    for epoch, parameters in epochs:
        reads += 1
        training += clock() - began
        for protocol, split in choosers.items():
            began = clock()
            found = recall(parameters, split)
            if protocol not in chosen or found > chosen[protocol].recall:
                kept = {name: value.detach().clone() for name, value in parameters.items()}
                chosen[protocol] = Candidate(kept, found, epoch, settings or {}, 0.0)
            choosing[protocol] += clock() - began
        began = clock()
    return {p: replace(candidate, seconds=training + choosing[p], reads=reads) for p, candidate in chosen.items()}


@dataclass(frozen=True, kw_only=True)
class Evaluator:
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
        augment: what students on pairs see instead of the pixels themselves, or None.
    """

    factory: ModelFactory
    tower: nn.Module | None
    splits: Splits
    student: StudentConfig
    batch_size: int
    teacher: TeacherConfig
    evaluate: EvaluateConfig
    seed: int
    augment: Augmentation | None = None

    def at_best_rates(self, distilled: DistilledSet, student: int) -> tuple[Outcome, ...]:
        """Measure a student trained with InfoNCE on pairs without learned rates, which validation chooses then."""
        return self._measured(self._candidates(distilled, student, choose_rates=True))

    def distilled(self, distilled: DistilledSet, student: int) -> tuple[Outcome, ...]:
        """Measure a student trained on the distilled set."""
        return self._measured(self._candidates(distilled, student, choose_rates=False))

    def trained(self, distilled: DistilledSet, student: int, *, choose_rates: bool) -> Candidate:
        """Return a student as the first protocol chooses it, trained as the one that is measured.

        Args:
            distilled: the pairs.
            student: its number.
            choose_rates: whether the pairs come without learned rates, as for `at_best_rates`.
        """
        protocol = self.evaluate.protocols[0]
        candidates = self._candidates(distilled, student, choose_rates=choose_rates)
        return max((by_protocol[protocol] for by_protocol in candidates), key=lambda candidate: candidate.recall)

    def _candidates(
        self, distilled: DistilledSet, student: int, *, choose_rates: bool
    ) -> list[dict[EvaluationProtocol, Candidate]]:
        loss = "infonce" if choose_rates else distilled.loss
        phases = student_phases(distilled.phases, loss, self.tower, self.factory.device)
        if choose_rates:
            return self._at_rates(phases, student)
        return [self._student(phases, loss, student, self.batch_size)]

    def closed_form(self, distilled: DistilledSet, form: ClosedForm) -> tuple[Outcome, ...]:
        """Measure the student whose linear heads are solved from all pairs together; nothing is chosen."""
        began = time.perf_counter()
        parameters = self._closed_form(distilled, form)
        settings, seconds = {"ridge": form.ridge}, time.perf_counter() - began
        model = self.factory.build()
        return self._measured(
            [
                {
                    protocol: Candidate(parameters, recalls_on(model, parameters, split).mean, 0, settings, seconds)
                    for protocol, split in self._choosers.items()
                }
            ]
        )

    def validate_closed_form(self, distilled: DistilledSet, form: ClosedForm) -> float:
        """Return the validation recall of the student in closed form; never reads the test split."""
        return recalls_on(self.factory.build(), self._closed_form(distilled, form), self.splits.val).mean

    def _closed_form(self, distilled: DistilledSet, form: ClosedForm) -> Parameters:
        phases = student_phases(distilled.phases, "infonce", self.tower, self.factory.device)
        images, texts = torch.cat([phase.images for phase in phases]), torch.cat([phase.texts for phase in phases])
        return closed_form_parameters(self.factory, images, texts, form)

    def random(self, num_pairs: int, student: int) -> tuple[Outcome, ...]:
        """Measure a student trained with InfoNCE on random real pairs; each student has its own draw."""
        train = self.splits.train
        if num_pairs > train.num_images:
            raise DataError(
                f"{num_pairs} random pairs are asked for but the training split has {train.num_images} images; "
                "lower evaluate.references.random_pairs or the distilled pairs, or give more data"
            )
        generator = make_generator(self.seed, "random pairs", student)
        captions = train.epoch_order("sample", generator)[:num_pairs]
        images, texts = train.image_inputs(train.caption_owner[captions]), train.texts(captions)
        phase = StudentPhase(images, texts, None, self.teacher.lr_image, self.teacher.lr_text)
        return self._measured(self._at_rates([phase], student))

    def _at_rates(self, phases: list[StudentPhase], student: int) -> list[dict[EvaluationProtocol, Candidate]]:
        """Train a student on real pairs, at each multiple of the teachers' rates."""
        candidates = []
        for scale in self.evaluate.references.rate_scales:
            lr_image, lr_text = self.teacher.lr_image * scale, self.teacher.lr_text * scale
            scaled = [replace(phase, lr_image=lr_image, lr_text=lr_text) for phase in phases]
            settings = {"lr_image": lr_image, "lr_text": lr_text}
            candidates.append(self._student(scaled, "infonce", student, self.teacher.batch_size, settings))
        return candidates

    def full(self, student: int) -> tuple[Outcome, ...]:
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
            candidates.append(best_epochs(mean_recall_of(model), numbered, self._choosers, settings))
        return self._measured(candidates)

    def validate(self, distilled: DistilledSet) -> float:
        """Return the validation recall of one student at its best epoch of the last phase; never reads the test split.

        The earlier phases are finished: their best epoch would hide whether the last one gets better.
        """
        phases = student_phases(distilled.phases, distilled.loss, self.tower, self.factory.device)
        model = self.factory.build()
        seed = (self.seed, "validation student")
        epochs = train_student(
            self.factory, model, phases, distilled.loss, self.student, *seed, batch_size=self.batch_size
        )
        earlier = (len(phases) - 1) * self.student.epochs
        return max(recalls_on(model, now, self.splits.val).mean for epoch, now in epochs if epoch > earlier)

    @property
    def _choosers(self) -> dict[EvaluationProtocol, EncodedSplit]:
        """The splits on which epochs and rates are chosen, by protocol."""
        by_protocol: dict[EvaluationProtocol, EncodedSplit] = {"strict": self.splits.val, "paper": self.splits.test}
        return {protocol: by_protocol[protocol] for protocol in self.evaluate.protocols}

    def _student(
        self,
        phases: list[StudentPhase],
        loss: LossName,
        student: int,
        batch_size: int,
        settings: dict[str, float] | None = None,
    ) -> dict[EvaluationProtocol, Candidate]:
        model = self.factory.build()
        seed = (self.seed, "student", student)
        if self.augment is not None:
            phases = [replace(phase, augment=self.augment) for phase in phases]
        epochs = train_student(self.factory, model, phases, loss, self.student, *seed, batch_size=batch_size)
        return best_epochs(mean_recall_of(model), epochs, self._choosers, settings)

    def _measured(self, candidates: list[dict[EvaluationProtocol, Candidate]]) -> tuple[Outcome, ...]:
        """Return an outcome for every protocol, in their order."""
        return tuple(self._outcome(protocol, [c[protocol] for c in candidates]) for protocol in self._choosers)

    def _outcome(self, protocol: EvaluationProtocol, candidates: list[Candidate]) -> Outcome:
        """Measure the best candidate on the test split."""
        best = max(candidates, key=lambda candidate: candidate.recall)
        ranks = ranks_on(self.factory.build(), best.parameters, self.splits.test)
        return Outcome(
            protocol=protocol,
            recalls=ranks.recalls,
            validation=best.recall if protocol == "strict" else None,
            epoch=best.epoch,
            settings=best.settings,
            seconds=sum(candidate.seconds for candidate in candidates),
            test_reads=1 + (0 if protocol == "strict" else sum(candidate.reads for candidate in candidates)),
            rates_tried=len(candidates),
            ranks=ranks,
            parameters=best.parameters,
        )
