"""The protocols: which epoch counts, over which seeds, and what a result records.

`strict` chooses every epoch on the validation split and reads the test split once. `paper` reports the best epoch on
the test split, which is optimistic: it exists so that published tables can be compared. Both can be had of the same
training; nothing that the test split holds reaches the choice of `strict` then either. Rates are chosen on the
validation split under both, once for all students of a set.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from pairstill.config import EvaluateConfig, EvaluationProtocol, StudentConfig, TeacherConfig
from pairstill.core.errors import DataError, NumericalError
from pairstill.core.rng import make_generator
from pairstill.distilled import DistilledSet
from pairstill.encoders.split import EncodedSplit
from pairstill.evaluate.closed_form import ClosedForm, closed_form_parameters
from pairstill.evaluate.epochs import Candidate, best_epochs
from pairstill.evaluate.rates import AS_THEY_ARE, BOTH, CHOOSING, Course, RateChoice, Scales, choose_scales
from pairstill.evaluate.retrieval import QueryRanks, Recalls, retrieval_ranks
from pairstill.evaluate.student import Augmentation, StudentPhase, student_phases, train_student
from pairstill.model.dual_encoder import DualEncoder, ModelFactory, Parameters, Side
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
        settings: what validation chose, such as the rates of a reference.
        seconds: time of training and of the choice of the epoch, without encoding and without the choice of rates.
        test_reads: how often recall was measured on the test split: once under `strict`, each epoch under `paper`.
        choice: the scales of its rates, which all students of its set share.
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
    choice: RateChoice
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
        evaluate: the protocol, the scales of rates and the references' settings.
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

    def of_pairs(self, distilled: DistilledSet, sides: tuple[Side, ...] | None = None) -> Course:
        """Return how students learn from pairs with learned rates.

        Args:
            distilled: the pairs.
            sides: the sides whose rates validation scales; None takes both or none, as `evaluate.scale_learned` says.
        """
        phases = student_phases(distilled.phases, distilled.loss, self.tower, self.factory.device)
        if sides is None or self.evaluate.scale_learned:
            sides = BOTH if self.evaluate.scale_learned else ()
        return Course(self._student(phases, distilled.loss, self.batch_size), sides)

    def at_teachers_rates(self, distilled: DistilledSet) -> Course:
        """Return how students learn with InfoNCE from pairs without learned rates: at the teachers', scaled."""
        phases = student_phases(distilled.phases, "infonce", self.tower, self.factory.device)
        rates = self.teacher.lr_image, self.teacher.lr_text
        phases = [replace(phase, lr_image=rates[0], lr_text=rates[1]) for phase in phases]
        return Course(self._student(phases, "infonce", self.teacher.batch_size), BOTH, rates)

    def closed_form(self, distilled: DistilledSet, form: ClosedForm) -> tuple[Outcome, ...]:
        """Measure the student whose linear heads are solved from all pairs together; nothing is chosen."""
        began = time.perf_counter()
        parameters = self._closed_form(distilled, form)
        settings, seconds = {"ridge": form.ridge}, time.perf_counter() - began
        model = self.factory.build()
        return self._measured(
            {
                protocol: Candidate(parameters, recalls_on(model, parameters, split).mean, 0, settings, seconds)
                for protocol, split in self._choosers.items()
            }
        )

    def validate_closed_form(self, distilled: DistilledSet, form: ClosedForm) -> float:
        """Return the validation recall of the student in closed form; never reads the test split."""
        return recalls_on(self.factory.build(), self._closed_form(distilled, form), self.splits.val).mean

    def _closed_form(self, distilled: DistilledSet, form: ClosedForm) -> Parameters:
        phases = student_phases(distilled.phases, "infonce", self.tower, self.factory.device)
        images, texts = torch.cat([phase.images for phase in phases]), torch.cat([phase.texts for phase in phases])
        return closed_form_parameters(self.factory, images, texts, form)

    def random(self, num_pairs: int) -> Course:
        """Return how students learn with InfoNCE from random real pairs, of which each student has its own draw.

        Raises:
            DataError: there are fewer images.
        """
        train = self.splits.train
        if num_pairs > train.num_images:
            raise DataError(
                f"{num_pairs} random pairs are asked for but the training split has {train.num_images} images; "
                "lower evaluate.references.random_pairs or the distilled pairs, or give more data"
            )
        rates = self.teacher.lr_image, self.teacher.lr_text

        def epochs(student: int | str, scales: Scales) -> Iterable[tuple[int, Parameters]]:
            generator = make_generator(self.seed, "random pairs", student)
            captions = train.epoch_order("sample", generator)[:num_pairs]
            images, texts = train.image_inputs(train.caption_owner[captions]), train.texts(captions)
            phase = StudentPhase(images, texts, None, *rates)
            return self._student([phase], "infonce", self.teacher.batch_size)(student, scales)

        return Course(epochs, BOTH, rates)

    def full(self) -> Course:
        """Return how models learn with InfoNCE from all real pairs."""
        references = self.evaluate.references
        training = replace(
            RealTraining.of_teacher(self.teacher),
            epochs=references.full_epochs or self.teacher.epochs,
            momentum=references.momentum,
            weight_decay=references.weight_decay,
        )

        def epochs(student: int | str, scales: Scales) -> Iterable[tuple[int, Parameters]]:
            seed = (self.seed, "full", student)
            scaled = replace(
                training, lr_image=training.lr_image * scales.image, lr_text=training.lr_text * scales.text
            )
            initial, model = self.factory.initial_parameters(*seed), self.factory.build()
            trained = train_on_real_pairs(self.factory, model, initial, self.splits.train, scaled, *seed)
            return ((number, parameters) for number, (parameters, _) in enumerate(trained, start=1))

        return Course(epochs, BOTH, (training.lr_image, training.lr_text))

    def choose(self, course: Course, recall: Callable[[Scales], float | None] | None = None) -> RateChoice:
        """Choose the scales of a course's rates by a student of its own; never reads the test split.

        Args:
            course: what students learn from.
            recall: in place of `try_scales`, such as one that knows what was tried before.

        Raises:
            NumericalError: every student diverged.
        """
        return choose_scales(
            recall or (lambda scales: self.try_scales(course, scales)),
            Scales(),
            course.sides,
            self.evaluate.rate_scales,
        )

    def try_scales(self, course: Course, scales: Scales) -> float | None:
        """Return the best validation recall of the student that chooses, or None where it diverges."""
        model = self.factory.build()
        try:
            epochs = course.train(CHOOSING, scales)
            return max(recalls_on(model, parameters, self.splits.val).mean for _, parameters in epochs)
        except NumericalError:
            return None

    def measure(self, course: Course, student: int, choice: RateChoice = AS_THEY_ARE) -> tuple[Outcome, ...]:
        """Measure a student of a course, at the scales that were chosen, by every protocol."""
        return self._measured(self._candidates(course, student, choice), choice)

    def trained(self, course: Course, student: int, choice: RateChoice = AS_THEY_ARE) -> Candidate:
        """Return a student as the first protocol chooses it, trained as the one that is measured."""
        return self._candidates(course, student, choice)[self.evaluate.protocols[0]]

    def _candidates(self, course: Course, student: int, choice: RateChoice) -> dict[EvaluationProtocol, Candidate]:
        epochs = course.train(student, choice.scales)
        return best_epochs(mean_recall_of(self.factory.build()), epochs, self._choosers, course.settings(choice))

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
        self, phases: list[StudentPhase], loss: LossName, batch_size: int
    ) -> Callable[[int | str, Scales], Iterable[tuple[int, Parameters]]]:
        """Return what trains a student on these phases at scales of their rates."""
        if self.augment is not None:
            phases = [replace(phase, augment=self.augment) for phase in phases]

        def epochs(student: int | str, scales: Scales) -> Iterable[tuple[int, Parameters]]:
            scaled = [
                replace(phase, lr_image=phase.lr_image * scales.image, lr_text=phase.lr_text * scales.text)
                for phase in phases
            ]
            model, seed = self.factory.build(), (self.seed, "student", student)
            return train_student(self.factory, model, scaled, loss, self.student, *seed, batch_size=batch_size)

        return epochs

    def _measured(
        self, candidates: Mapping[EvaluationProtocol, Candidate], choice: RateChoice = AS_THEY_ARE
    ) -> tuple[Outcome, ...]:
        """Return an outcome for every protocol, in their order, measured on the test split."""
        return tuple(self._outcome(protocol, candidates[protocol], choice) for protocol in self._choosers)

    def _outcome(self, protocol: EvaluationProtocol, best: Candidate, choice: RateChoice) -> Outcome:
        ranks = ranks_on(self.factory.build(), best.parameters, self.splits.test)
        return Outcome(
            protocol=protocol,
            recalls=ranks.recalls,
            validation=best.recall if protocol == "strict" else None,
            epoch=best.epoch,
            settings=best.settings,
            seconds=best.seconds,
            test_reads=1 + (0 if protocol == "strict" else best.reads),
            choice=choice,
            ranks=ranks,
            parameters=best.parameters,
        )
